# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SQLite recordings that are cut off, or whose newest messages are still in the journal (-wal)."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from referdino_core.replay.storage import Channel, RawMessage, Storage, Unreadable

MAGIC = b"SQLite format 3\0"


class SqliteRows(Storage):
    """The messages of a rosbag2 database in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        """Read the topics.

        Raises:
            Unreadable: this is no database of messages, or its topics are lost.
        """
        self._path = path
        self.counts = {}
        if path.open("rb").read(len(MAGIC)) != MAGIC:
            raise Unreadable("it does not begin as an SQLite database does")
        self._database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            # SQLite otherwise refuses a file that is shorter than its header says.
            self._database.execute("PRAGMA writable_schema = ON")
            definitions = self._definitions()
            rows = self._database.execute("SELECT id, name, type FROM topics ORDER BY id")
            self._channels = {
                number: Channel(topic, type_name, definitions.get(type_name, ""))
                for number, topic, type_name in rows
            }
            self._database.execute("SELECT id FROM messages NOT INDEXED LIMIT 1").fetchall()
        except sqlite3.Error as error:
            self._database.close()
            raise Unreadable(str(error)) from error
        self.channels = tuple(self._channels.values())

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        query = "SELECT id, topic_id, timestamp, data FROM messages NOT INDEXED ORDER BY id"
        last = 0
        try:
            for number, topic, time, data in self._database.execute(query):
                last = number
                channel = self._channels.get(topic)
                if channel is not None and channel.topic in topics:
                    yield RawMessage(channel, time, data)
        except sqlite3.Error as error:
            self.problem = f"{self._path.name} breaks off after message {last}: {error}"

    def close(self) -> None:
        self._database.close()

    def _definitions(self) -> dict[str, str]:
        """Message definitions by type, which recordings hold from Iron on."""
        query = "SELECT topic_type, encoded_message_definition FROM message_definitions"
        try:
            return dict(self._database.execute(query))
        except sqlite3.OperationalError:
            return {}
