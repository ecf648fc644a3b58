# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings: a folder, or one storage file; several files, compressed, broken."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Any

from referdino_core.errors import SourceError
from referdino_core.replay import mcap_stream, sqlite_rows
from referdino_core.replay.compression import ZSTD_START, DamagedData, decompress, decompress_file
from referdino_core.replay.mcap_stream import McapStream
from referdino_core.replay.sqlite_rows import SqliteRows
from referdino_core.replay.storage import Channel, RawMessage, Storage, Unreadable

METADATA_NAME = "metadata.yaml"
STORAGE_SUFFIXES = (".mcap", ".db3")
_COMPRESSED_SUFFIX = ".zstd"


def is_bag(path: Path) -> bool:
    """Whether this looks like a rosbag2 recording: a folder of storage files, or one of them."""
    if path.is_dir():
        return (path / METADATA_NAME).is_file() or bool(_storage_files_in(path))
    return _storage_suffix(path) in STORAGE_SUFFIXES


class Bag:
    """A recording, open for reading from front to back, as often as wanted.

    Attributes:
        path: as it was given.
        problems: what is wrong with it, a line each; grows while it is read.
        channels: every recorded topic.
        counts: messages per topic; empty where a file does not tell.
    """

    def __init__(self, path: Path) -> None:
        """Look for the topics.

        Raises:
            SourceError: this is no rosbag2 recording, or nothing of it can be read.
        """
        self.path = path
        self._found: dict[str, None] = {}
        self._stack = ExitStack()
        self._files = [self._plain(file) for file in self._list_files()]
        counts: Counter[str] = Counter()
        channels: dict[Channel, None] = {}
        readable, tells_counts, complaint = [], True, ""
        for file in self._files:
            try:
                storage = _open_storage(file)
            except (Unreadable, OSError) as error:
                complaint = f"{file.name} cannot be read: {error}"
                self._found[complaint] = None
                continue
            readable.append(file)
            channels.update(dict.fromkeys(storage.channels))
            counts.update(storage.counts)
            tells_counts = tells_counts and bool(storage.counts)
            self._close(storage)
        if not readable:
            self.close()
            raise SourceError(
                f"{path} is no rosbag2 recording that can be read: {complaint or 'it is empty'}. "
                "Give a folder with metadata.yaml, an .mcap or a .db3 file."
            )
        self._files = readable
        self.channels = tuple(channels)
        self.counts = dict(counts) if tells_counts else {}

    @property
    def problems(self) -> list[str]:
        """What was found wrong so far."""
        return list(self._found)

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The messages of these topics, file by file in the order of their times.

        A file that breaks is read up to the break; then the next one follows.
        """
        for file in self._files:
            storage = _open_storage(file)
            try:
                for message in storage.messages(topics):
                    if message.data.startswith(ZSTD_START):  # CDR never begins like this
                        yield from self._decompressed(message)
                    else:
                        yield message
            finally:
                self._close(storage)

    def close(self) -> None:
        """Remove what was unpacked; may be called more than once."""
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _close(self, storage: Storage) -> None:
        if storage.problem:
            self._found[f"{storage.problem}; replayed up to there"] = None
        storage.close()

    def _decompressed(self, message: RawMessage) -> Iterator[RawMessage]:
        try:
            data = decompress(message.data, "zstd")
        except DamagedData as error:
            self._found[f"A message of {message.channel.topic} is damaged: {error}"] = None
            return
        yield RawMessage(message.channel, message.time, data)

    def _list_files(self) -> list[Path]:
        """The storage files in their order: as the metadata says, else by their names."""
        if not self.path.is_dir():
            return [self.path]
        files = _storage_files_in(self.path)
        try:
            listed = _files_of_metadata(self.path / METADATA_NAME)
        except Exception as error:  # whatever YAML makes of a damaged file
            reason = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
            self._found[f"{METADATA_NAME} {reason}: the recording was not closed"] = None
            return files
        paths = [self.path / name for name in listed]
        for path in paths:
            if not path.is_file():
                self._found[f"{path.name} is missing, which {METADATA_NAME} lists"] = None
        return [path for path in paths if path.is_file()] or files

    def _plain(self, file: Path) -> Path:
        """The file itself, or what it unpacks to."""
        if file.suffix != _COMPRESSED_SUFFIX:
            return file
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="referdino_")))
        plain = folder / file.stem
        if not decompress_file(file, plain):
            self._found[f"{file.name} breaks off: its compressed data is not complete"] = None
        return plain


class RosbagsStorage(Storage):
    """A storage file that is whole, read by rosbags."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises whatever rosbags makes of one that is not whole."""
        from rosbags.rosbag2 import Reader

        self._path = path
        self._reader: Any = Reader(path)
        self._reader.open()
        self.counts = {}
        self._connections: dict[int, Channel] = {}
        for connection in self._reader.connections:
            self._connections[connection.id] = Channel(
                connection.topic,
                connection.msgtype,
                connection.msgdef.data,
                tuple(getattr(connection.ext, "offered_qos_profiles", ())),
            )
            before = self.counts.get(connection.topic, 0)
            self.counts[connection.topic] = before + connection.msgcount
        self.channels = tuple(dict.fromkeys(self._connections.values()))

    @property
    def is_indexed(self) -> bool:
        """Whether messages are found by their times; rosbags refuses others that are unordered."""
        return bool(getattr(self._reader.storage, "chunks", True))

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        wanted = [one for one in self._reader.connections if one.topic in topics]
        if not wanted:
            return
        time = None
        try:
            for connection, time, data in self._reader.messages(wanted):
                yield RawMessage(self._connections[connection.id], time, data)
        except Exception as error:  # rosbags, its decompressors and SQLite have errors of their own
            where = "at its first message" if time is None else f"after time {time} ns"
            self.problem = f"{self._path.name} breaks off {where}: {' '.join(str(error).split())}"

    def close(self) -> None:
        self._reader.close()


def _open_storage(path: Path) -> Storage:
    """The file through rosbags where it is whole, else as far as it can be read.

    Raises:
        Unreadable: nothing of it can be read.
    """
    start = path.open("rb").read(16)
    if start.startswith(b"#ROSBAG"):
        raise Unreadable("it is a ROS 1 bag; convert it with rosbags-convert")
    is_mcap = start.startswith(mcap_stream.MAGIC)
    if not is_mcap and start != sqlite_rows.MAGIC:
        raise Unreadable("it is neither an MCAP file nor an SQLite database")
    journal = path.with_name(path.name + "-wal")
    if not is_mcap and journal.is_file() and journal.stat().st_size:
        return SqliteRows(path)  # rosbags does not look into the journal
    try:
        storage = RosbagsStorage(path)
    except Exception:  # see RosbagsStorage
        return McapStream(path) if is_mcap else SqliteRows(path)
    if not is_mcap or storage.is_indexed:
        return storage
    storage.close()
    return McapStream(path)


def _files_of_metadata(path: Path) -> list[str]:
    import yaml

    metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = metadata["rosbag2_bagfile_information"]["relative_file_paths"]
    return [PurePath(name).name for name in names]


def _storage_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == _COMPRESSED_SUFFIX else path.suffix


def _storage_files_in(folder: Path) -> list[Path]:
    files = [path for path in folder.iterdir() if _storage_suffix(path) in STORAGE_SUFFIXES]
    return sorted(files, key=_natural_order)


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Orders bag_2 before bag_10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
