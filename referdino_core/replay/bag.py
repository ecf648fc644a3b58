# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of rosbag2 recordings: folders or single files, split, compressed or damaged."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.media.other_recordings import recording_of_ros
from referdino_core.replay import mcap_records, sqlite_file
from referdino_core.replay.bag_files import (
    COMPRESSED_SUFFIXES,
    METADATA_NAME,
    FileKind,
    kind_of,
    read_metadata,
    ros_1_bags_in,
    start_of,
    storage_files_in,
)
from referdino_core.replay.compression import (
    ZSTD_START,
    DamagedData,
    TooLarge,
    is_zstd,
    unpack_file,
    unpack_message,
)
from referdino_core.replay.mcap_file import McapFile
from referdino_core.replay.sqlite_file import SqliteFile
from referdino_core.replay.storage import CDR, RawMessage, Storage, Unreadable
from referdino_core.user_files import legible


class Bag:
    """A recording that can be read from front to back, repeatedly.

    Attributes:
        path: as it was given.
        problems: one line per problem; grows while it is read.
        channels: every recorded topic.
        counts: messages per topic; empty if a file does not state them.
    """

    def __init__(self, path: Path) -> None:
        """Open the files and list the topics.

        Raises:
            SourceError: this is not a rosbag2 recording, or nothing of it can be read.
        """
        _refuse_what_is_no_recording(path)
        self.path = path
        self._found: dict[str, None] = {}
        self._announced: dict[str, int] = {}
        self._storages: list[Storage] = []
        self._stack = ExitStack()
        complaint = ""
        try:
            for file in self._list_files():
                try:
                    self._storages.append(_open_storage(self._plain(file)))
                except (Unreadable, TooLarge, OSError) as error:
                    complaint = f"{legible(file.name)} cannot be read: {error}"
                    self._found[complaint] = None
            if not self._storages:
                raise SourceError(
                    f"{path} is not a rosbag2 recording that can be read: "
                    f"{complaint or '; '.join(self._found) or 'it is empty'}. "
                    "Give a folder with metadata.yaml, an .mcap or a .db3 file."
                )
            channels = (channel for storage in self._storages for channel in storage.channels)
            self.channels = tuple(dict.fromkeys(channels))
            self._refuse_foreign_messages()
        except SourceError:
            self.close()
            raise
        counts: Counter[str] = Counter()
        for storage in self._storages:
            counts.update(storage.counts)
        self.counts = dict(counts) if all(one.counts for one in self._storages) else {}

    @property
    def problems(self) -> list[str]:
        """Problems found so far."""
        return [*self._found, *(line for one in self._storages for line in one.problems)]

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The messages of these topics, file by file in order of time.

        A damaged file is read up to the damage, then the next file follows.
        """
        found: Counter[str] = Counter()
        reported: Counter[str] = Counter()  # missing messages already reported for a single file
        for storage in self._storages:
            before = found.copy()
            try:
                for message in storage.messages(topics):
                    found[message.channel.topic] += 1
                    if message.data.startswith(ZSTD_START):  # CDR never begins like this
                        yield from self._unpacked(message)
                    else:
                        yield message
            except OSError as error:
                self._found[f"{legible(storage.path.name)} breaks off: {error}"] = None
            for topic, announced in storage.announced.items():
                reported[topic] += max(0, announced - found[topic] + before[topic])
        for topic in topics:
            announced = self._announced.get(topic, 0)
            if found[topic] + reported[topic] < announced:
                said = f"announces {announced} messages on {topic}; {found[topic]} were read"
                self._found[f"{METADATA_NAME} {said}"] = None

    def close(self) -> None:
        """Remove unpacked files; may be called more than once."""
        self._stack.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _unpacked(self, message: RawMessage) -> Iterator[RawMessage]:
        try:
            data = unpack_message(message.data)
        except DamagedData as error:
            self._found[f"A message of {message.channel.topic} is damaged: {error}"] = None
            return
        yield RawMessage(message.channel, message.time, data)

    def _list_files(self) -> list[Path]:
        """The storage files in the order of the metadata, else by name."""
        if not self.path.is_dir():
            return [self.path]
        files = storage_files_in(self.path)
        try:
            metadata = read_metadata(self.path)
        except Exception as error:  # whatever YAML makes of a damaged file
            reason = "is missing" if isinstance(error, FileNotFoundError) else "is damaged"
            self._found[f"{METADATA_NAME} {reason}: the recording was not closed"] = None
            return files
        self._announced = metadata.counts
        paths = [self.path / name for name in metadata.files]
        for path in paths:
            if not path.is_file():
                self._found[f"{legible(path.name)} is missing, which {METADATA_NAME} lists"] = None
        return [path for path in paths if path.is_file()] or files

    def _plain(self, file: Path) -> Path:
        """The file itself, or a temporary file with its decompressed content."""
        with file.open("rb") as opened:
            if not is_zstd(opened.read(len(ZSTD_START))):
                return file
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="referdino_")))
        plain = folder / (file.stem if file.suffix.lower() in COMPRESSED_SUFFIXES else file.name)
        try:
            is_whole = unpack_file(file, plain)
        except TooLarge as error:
            plain.unlink()
            raise TooLarge(
                f"{error}; unpack it with `zstd -d`, or point TMPDIR to a larger disk"
            ) from None
        if not is_whole:
            self._found[f"{legible(file.name)} breaks off: its compressed data is not complete"] = (
                None
            )
        return plain

    def _refuse_foreign_messages(self) -> None:
        encodings = {channel.encoding for channel in self.channels}
        if not encodings or CDR in encodings:
            return
        if "ros1" in encodings:
            raise SourceError(
                f"{self.path} holds messages of ROS 1, not of ROS 2; convert the ROS 1 bag that it "
                "was made from with rosbags-convert, and give the result to referdino replay."
            )
        raise SourceError(
            f"{self.path} holds messages that are serialised as {', '.join(sorted(encodings))}, "
            f"and those of ROS 2 are {CDR}; record them with ros2 bag record."
        )


def _refuse_what_is_no_recording(path: Path) -> None:
    """Raise SourceError, with what to do, for what is often mistaken for a rosbag2 recording."""
    if path.is_dir():
        is_other = not storage_files_in(path) and bool(ros_1_bags_in(path))
    else:
        is_other = kind_of(path) in (FileKind.METADATA, FileKind.ROS_1)
    if is_other:
        raise SourceError(f"{path} {recording_of_ros(path)}.")


def _open_storage(path: Path) -> Storage:
    """Open a storage file, which may be damaged.

    Raises:
        Unreadable: nothing of it can be read.
    """
    start = start_of(path)
    if start.startswith(mcap_records.MAGIC):
        return McapFile(path)
    if start == sqlite_file.MAGIC:
        return SqliteFile(path)
    if not start:
        raise Unreadable("it is empty")
    raise Unreadable("it is neither an MCAP file nor an SQLite database")
