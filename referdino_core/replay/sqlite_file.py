# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SQLite recordings: complete, truncated, or with recent messages still in the journal (-wal)."""

from __future__ import annotations

import sqlite3
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from referdino_core.replay.storage import Channel, RawMessage, Storage, Unreadable, offered_qos

MAGIC = b"SQLite format 3\0"

_TABLES = (b"topics", b"messages")
_FIRST_PAGE = 65536  # bytes at most


def holds_messages(path: Path) -> bool:
    """Whether a file is a database with the tables of rosbag2, judging by its first page."""
    try:
        with path.open("rb") as file:
            page = file.read(_FIRST_PAGE)
    except OSError:
        return False
    return page.startswith(MAGIC) and all(name in page for name in _TABLES)


class SqliteFile(Storage):
    """A rosbag2 database, opened strictly read-only: no file is created beside it."""

    def __init__(self, path: Path) -> None:
        """Read the topics, and count the messages if the file is complete.

        Raises:
            Unreadable: this is not a database of messages, or its topics are lost.
        """
        super().__init__(path)
        try:
            with closing(self._open()) as database:
                self._topics = _read_topics(database)
                database.execute("SELECT id FROM messages NOT INDEXED LIMIT 1").fetchall()
                self._is_cut = _is_cut(path)
                if not self._is_cut:
                    self.counts = self._count(database)
        except sqlite3.Error as error:
            raise Unreadable(str(error)) from error
        if _has_content(path, "-journal"):
            self.note_problem(
                "was being written when the recorder ended: its last changes are not whole"
            )
        self.channels = tuple(dict.fromkeys(self._topics.values()))

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        numbers = [number for number, one in self._topics.items() if one.topic in topics]
        wanted = ", ".join("?" * len(numbers))
        # The index may be what is missing of a file that is cut off.
        table, order = ("NOT INDEXED", "id") if self._is_cut else ("", "timestamp, id")
        query = f"SELECT id FROM messages {table} WHERE topic_id IN ({wanted}) ORDER BY {order}"
        last = damaged = 0
        found: Counter[str] = Counter()
        with closing(self._open()) as database:
            try:
                for (number,) in database.execute(query, numbers):
                    message = self._message(database, number)
                    if message is None:
                        damaged += 1
                    else:
                        last = number
                        found[message.channel.topic] += 1
                        yield message
            except sqlite3.Error as error:
                self.note_problem(f"breaks off after message {last}: {error}; replayed up to there")
        if damaged:
            self.note_problem(f"holds {damaged} damaged messages, left out")
        for topic in topics:
            count = self.counts.get(topic, 0)
            if found[topic] + damaged < count:
                self.note_problem(f"holds {count} messages on {topic}; {found[topic]} were read")

    def _message(self, database: sqlite3.Connection, number: int) -> RawMessage | None:
        """The message with that id; None if its data are damaged."""
        query = "SELECT topic_id, timestamp, data FROM messages WHERE id = ?"
        try:
            row = database.execute(query, (number,)).fetchone()
        except sqlite3.Error:
            if self._is_cut:
                raise
            return None
        if row is None or not isinstance(row[2], bytes):
            return None
        return RawMessage(self._topics[row[0]], row[1], row[2])

    def _count(self, database: sqlite3.Connection) -> dict[str, int]:
        query = "SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id"
        counts = {channel.topic: 0 for channel in self._topics.values()}
        try:
            for number, count in database.execute(query):
                if number in self._topics:
                    counts[self._topics[number].topic] += count
        except sqlite3.Error:
            return {}  # reading finds out
        return counts

    def _open(self) -> sqlite3.Connection:
        """Open the database without locks and without SQLite's own files beside it."""
        if _has_content(self.path, "-wal"):
            # In exclusive mode SQLite keeps the journal's index in memory, not in a file (-shm).
            options, mode = "mode=ro&vfs=unix-none", "EXCLUSIVE"
        else:
            options, mode = "immutable=1", "NORMAL"
        uri = f"{self.path.resolve().as_uri()}?{options}"
        database = sqlite3.connect(uri, uri=True)
        try:
            database.execute(f"PRAGMA locking_mode = {mode}")
            # SQLite otherwise refuses a file that is shorter than its header says.
            database.execute("PRAGMA writable_schema = ON")
        except sqlite3.Error:
            database.close()
            raise
        return database


def _read_topics(database: sqlite3.Connection) -> dict[int, Channel]:
    """Channels by the numbers that messages refer to."""
    definitions = _definitions(database)
    columns = {row[1] for row in database.execute("PRAGMA table_info(topics)")}
    qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
    query = f"SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id"
    return {
        number: Channel(topic, kind, definitions.get(kind, ""), offered_qos(profiles), encoding)
        for number, topic, kind, encoding, profiles in database.execute(query)
    }


def _definitions(database: sqlite3.Connection) -> dict[str, str]:
    """Message definitions by type, which are recorded since ROS 2 Iron."""
    query = "SELECT topic_type, encoded_message_definition FROM message_definitions"
    try:
        return dict(database.execute(query))
    except sqlite3.OperationalError:
        return {}


def _has_content(path: Path, ending: str) -> bool:
    """Whether a non-empty journal with that suffix lies beside a database."""
    try:
        return path.with_name(path.name + ending).stat().st_size > 0
    except OSError:
        return False


def _is_cut(path: Path) -> bool:
    """Whether a database is shorter than its header says, if the header is valid."""
    with path.open("rb") as file:
        header = file.read(100)
    (page,) = struct.unpack_from(">H", header, 16)
    changes, pages = struct.unpack_from(">II", header, 24)
    (valid_for,) = struct.unpack_from(">I", header, 92)
    size = 65536 if page == 1 else page
    return changes == valid_for and path.stat().st_size < pages * size
