# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""MCAP files without an index, or cut off: read from the front, record by record.

Record layouts are those of the MCAP specification (https://mcap.dev/spec).
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from referdino_core.replay.compression import DamagedData, decompress
from referdino_core.replay.storage import Channel, RawMessage, Storage, Unreadable

MAGIC = b"\x89MCAP0\r\n"

_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
_RECORD_START = struct.Struct("<BQ")
_MESSAGE_START = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_START = struct.Struct("<QQQI")  # first time, last time, uncompressed size, checksum


class _Break(Exception):
    """The file cannot be read beyond this point; the message says why."""


class McapStream(Storage):
    """An MCAP file that is read from the front until it ends or breaks off."""

    def __init__(self, path: Path) -> None:
        """Look through the file once, for its topics.

        Raises:
            Unreadable: this is no MCAP file.
        """
        self._file: BinaryIO = path.open("rb")
        if self._file.read(len(MAGIC)) != MAGIC:
            self._file.close()
            raise Unreadable("it does not begin as an MCAP file does")
        self._path = path
        self._size = path.stat().st_size
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, Channel] = {}
        counts: Counter[str] = Counter()
        for message in self._read():
            counts[message.channel.topic] += 1
        self.counts = dict(counts)
        self.channels = tuple(dict.fromkeys(self._channels.values()))

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        for message in self._read():
            if message.channel.topic in topics:
                yield message

    def close(self) -> None:
        self._file.close()

    def _read(self) -> Iterator[RawMessage]:
        self._file.seek(len(MAGIC))
        position = len(MAGIC)
        try:
            while True:
                position = self._file.tell()
                start = self._file.read(_RECORD_START.size)
                if len(start) < _RECORD_START.size:
                    raise _Break("the recording was not closed")
                kind, length = _RECORD_START.unpack(start)
                if kind in (_DATA_END, _FOOTER):
                    return
                if kind == _CHUNK:
                    yield from self._chunk(length)
                elif kind in (_SCHEMA, _CHANNEL, _MESSAGE):
                    yield from self._record(kind, self._read_exactly(length))
                elif position + length > self._size:
                    raise _Break("it ends in the middle of a record")
                else:
                    self._file.seek(length, 1)
        except _Break as error:
            self.problem = f"{self._path.name} breaks off at byte {position}: {error}"
        except (DamagedData, struct.error, UnicodeDecodeError) as error:
            self.problem = f"{self._path.name} is damaged at byte {position}: {error}"

    def _read_exactly(self, length: int) -> bytes:
        if self._file.tell() + length > self._size:
            raise _Break("it ends in the middle of a record")
        return self._file.read(length)

    def _chunk(self, length: int) -> Iterator[RawMessage]:
        """The messages of a chunk in the order of their times, as far as it is there."""
        content = self._file.read(min(length, self._size - self._file.tell()))
        try:
            *_, size, checksum = _CHUNK_START.unpack_from(content)
            kind, position = _text(content, _CHUNK_START.size)
            (stored,) = struct.unpack_from("<Q", content, position)
        except struct.error:
            raise _Break("it ends in the middle of a chunk") from None
        position += 8
        records = decompress(content[position : position + stored], kind)
        whole = len(content) == length and len(records) == size
        if whole and checksum and zlib.crc32(records) != checksum:
            raise DamagedData("the checksum of a chunk is wrong")
        yield from sorted(self._records(records), key=lambda message: message.time)
        if not whole:
            raise _Break("it ends in the middle of a chunk")

    def _records(self, data: bytes) -> Iterator[RawMessage]:
        position = 0
        while position + _RECORD_START.size <= len(data):
            kind, length = _RECORD_START.unpack_from(data, position)
            position += _RECORD_START.size
            if position + length > len(data):
                return
            yield from self._record(kind, data[position : position + length])
            position += length

    def _record(self, kind: int, content: bytes) -> Iterator[RawMessage]:
        if kind == _MESSAGE:
            channel, _, time, _ = _MESSAGE_START.unpack_from(content)
            if channel in self._channels:
                yield RawMessage(self._channels[channel], time, content[_MESSAGE_START.size :])
        elif kind == _SCHEMA:
            (number,) = struct.unpack_from("<H", content)
            name, position = _text(content, 2)
            _, position = _text(content, position)
            self._schemas[number] = name, _text(content, position)[0]
        elif kind == _CHANNEL:
            number, schema = struct.unpack_from("<HH", content)
            type_name, definition = self._schemas.get(schema, ("", ""))
            self._channels[number] = Channel(_text(content, 4)[0], type_name, definition)


def _text(data: bytes, position: int) -> tuple[str, int]:
    """A text with its length before it, and the position that follows it."""
    (length,) = struct.unpack_from("<I", data, position)
    end = position + 4 + length
    if end > len(data):
        raise _Break("it ends in the middle of a record")
    return data[position + 4 : end].decode("utf-8"), end
