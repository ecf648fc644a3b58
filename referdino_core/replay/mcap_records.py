# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Records of MCAP files, as specified at https://mcap.dev/spec."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from referdino_core.replay.compression import DamagedData, unpack

MAGIC = b"\x89MCAP0\r\n"

INVALID, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x00, 0x02, 0x03, 0x04, 0x05, 0x06
MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END = 0x07, 0x08, 0x0B, 0x0F

RECORD_START = struct.Struct("<BQ")  # operation code, length
MESSAGE_START = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_START = struct.Struct("<QQQII")  # first, last time, unpacked size, checksum, name's length
FOOTER_END = struct.Struct("<BQQQI8s")  # the footer, and the magic bytes that end the file

FOOTER_LENGTH = 20

_COUNT = struct.Struct("<HQ")
_STATISTICS_COUNTS = 42  # bytes before them: numbers and times of all kinds of records


@dataclass(frozen=True)
class SchemaRecord:
    """A message type: its name, and its definition in the format `encoding`."""

    number: int
    name: str
    encoding: str
    definition: str


@dataclass(frozen=True)
class ChannelRecord:
    """A topic; `schema` numbers its message type (0 for none), `encoding` its serialization."""

    number: int
    schema: int
    topic: str
    encoding: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class StatisticsRecord:
    """A file's own statistics: the number of channels, and of messages per channel."""

    channels: int
    messages: dict[int, int]


@dataclass(frozen=True)
class Chunk:
    """Position and compression of a chunk.

    Attributes:
        position: of its record in the file; `data`: of the compressed records in it.
        stored: bytes from `data` on that are in the file; `is_cut`: whether some are missing.
        first, last: log times in nanoseconds of its messages; 0 if it has none.
        size: decompressed size in bytes. checksum: its CRC-32, 0 for none.
        compression: "zstd", "lz4" or "".
    """

    position: int
    data: int
    stored: int
    is_cut: bool
    first: int
    last: int
    size: int
    checksum: int
    compression: str

    def unpack(self, data: bytes) -> bytes:
        """Decompress the records of the chunk.

        Raises:
            DamagedData: they cannot be decompressed, or size or checksum differ.
        """
        records = unpack(data, self.compression, self.size)
        if self.is_cut:
            return records
        if len(records) != self.size:
            raise DamagedData(f"it unpacks to {len(records)} instead of {self.size} bytes")
        if self.checksum and zlib.crc32(records) != self.checksum:
            raise DamagedData("its checksum is wrong")
        return records


def parse_schema(content: bytes) -> SchemaRecord:
    """A schema record; `content` is what follows its length."""
    (number,) = struct.unpack_from("<H", content)
    name, position = _text(content, 2)
    encoding, position = _text(content, position)
    definition, _ = _text(content, position)
    return SchemaRecord(number, name, encoding, definition)


def parse_channel(content: bytes) -> ChannelRecord:
    """A channel record; `content` is what follows its length."""
    number, schema = struct.unpack_from("<HH", content)
    topic, position = _text(content, 4)
    encoding, position = _text(content, position)
    (length,) = struct.unpack_from("<I", content, position)
    position, end = position + 4, position + 4 + length
    metadata: dict[str, str] = {}
    while position < end:
        key, position = _text(content, position)
        metadata[key], position = _text(content, position)
    return ChannelRecord(number, schema, topic, encoding, metadata)


def parse_message_index(content: bytes) -> tuple[int, int]:
    """The channel of a message index record, and how many messages it lists."""
    number, length = struct.unpack_from("<HI", content)
    return number, length // 16


def parse_statistics(content: bytes) -> StatisticsRecord:
    """A statistics record; `content` is what follows its length."""
    (channels,) = struct.unpack_from("<I", content, 10)
    (length,) = struct.unpack_from("<I", content, _STATISTICS_COUNTS)
    start = _STATISTICS_COUNTS + 4
    counts = content[start : start + length - length % _COUNT.size]
    return StatisticsRecord(channels, dict(_COUNT.iter_unpack(counts)))


def parse_chunk_index(content: bytes) -> int:
    """The position in the file of the chunk that a chunk index record lists."""
    position: int = struct.unpack_from("<Q", content, 16)[0]
    return position


def _text(data: bytes, position: int) -> tuple[str, int]:
    """A length-prefixed text, and the position after it."""
    (length,) = struct.unpack_from("<I", data, position)
    end = position + 4 + length
    if end > len(data):
        raise DamagedData("a text in it is longer than its record")
    return data[position + 4 : end].decode("utf-8", "replace"), end
