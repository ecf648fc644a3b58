# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A writer of MCAP files that leaves out what the writers of the field leave out."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lz4.frame
from bag_samples import START, TYPES, Sample

try:
    from compression import zstd
except ImportError:
    from backports import zstd

MAGIC = b"\x89MCAP0\r\n"
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
}


@dataclass(frozen=True)
class McapOptions:
    """What a writer does; by default everything that the specification provides for.

    Attributes:
        per_chunk: messages in a chunk; 0 for none outside of which messages lie.
        compression: of chunks.
        indexed: whether the chunk of that number is followed by message indexes.
        channels_outside: also write schemas and channels before the first chunk.
        extra: records of any kind between chunks: kind and content.
        counts: added to what the statistics say of each topic.
        silent: topics without a message, of the first sample's type.
        encoding, schema_encoding: of all messages.
        first_times: what chunks say of their first message's time, where it is a lie.
    """

    per_chunk: int = 3
    compression: str = ""
    indexed: Callable[[int], bool] = lambda number: True
    channels_inside: bool = True
    channels_outside: bool = False
    checksums: bool = True
    extra: Sequence[tuple[int, bytes]] = ()
    repeated_schemas: bool = True
    repeated_channels: bool = True
    statistics: bool = True
    chunk_index: bool = True
    summary: bool = True
    data_end: bool = True
    footer: bool = True
    counts: int = 0
    silent: Sequence[str] = ()
    encoding: str = "cdr"
    schema_encoding: str = "ros2msg"
    type_name: str = ""
    first_times: int | None = None


@dataclass
class _File:
    data: bytearray = field(default_factory=lambda: bytearray(MAGIC))
    chunk_indexes: list[bytes] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def write_mcap(path: Path, samples: Iterable[Sample], options: McapOptions | None = None) -> Path:
    """Write samples in the given order, whatever their times."""
    options = options or McapOptions()
    samples = list(samples)
    topics = list(dict.fromkeys([*(one.topic for one in samples), *options.silent]))
    kinds = {one.topic: one.kind for one in samples}
    schemas, channels = b"", b""
    for number, topic in enumerate(topics, start=1):
        kind = kinds.get(topic, samples[0].kind)
        definition = TYPES.generate_msgdef(kind, ros_version=2)[0]
        name = options.type_name or kind
        schema = struct.pack("<H", number) + text(name) + text(options.schema_encoding)
        schemas += record(0x03, schema + text(definition))
        channel = struct.pack("<HH", number, number) + text(topic) + text(options.encoding)
        channels += record(0x04, channel + text(""))
    file = _File()
    file.data += record(0x01, text("ros2") + text("a test"))
    if options.channels_outside or not options.per_chunk:
        file.data += schemas + channels
    _write_messages(file, samples, topics, schemas + channels, options)
    if options.data_end:
        file.data += record(0x0F, struct.pack("<I", 0))
    start = len(file.data)
    if options.summary:
        file.data += _summary(file, samples, schemas, channels, options)
    if options.footer:
        start = start if len(file.data) > start else 0
        file.data += record(0x02, struct.pack("<QQI", start, 0, 0)) + MAGIC
    path.write_bytes(file.data)
    return path


def message_record(sample: Sample, topics: Sequence[str]) -> bytes:
    number, time = topics.index(sample.topic) + 1, START + sample.time
    data = bytes(TYPES.serialize_cdr(sample.message, sample.kind))
    return record(0x05, struct.pack("<HIQQ", number, 0, time, time) + data)


def _write_messages(
    file: _File,
    samples: Sequence[Sample],
    topics: Sequence[str],
    definitions: bytes,
    options: McapOptions,
) -> None:
    size = options.per_chunk or 1
    for number, first in enumerate(range(0, len(samples), size)):
        part = samples[first : first + size]
        messages = [message_record(one, topics) for one in part]
        file.counts.update(topics.index(one.topic) + 1 for one in part)
        if options.per_chunk:
            inside = definitions if number == 0 and options.channels_inside else b""
            _write_chunk(file, part, inside, messages, number, topics, options)
        else:
            file.data += b"".join(messages)
        for kind, content in options.extra:
            file.data += record(kind, content)


def _write_chunk(
    file: _File,
    part: Sequence[Sample],
    inside: bytes,
    messages: Sequence[bytes],
    number: int,
    topics: Sequence[str],
    options: McapOptions,
) -> None:
    records = inside + b"".join(messages)
    times = [START + one.time for one in part]
    first = min(times) if options.first_times is None else options.first_times
    packed = COMPRESSORS[options.compression](records)
    checksum = zlib.crc32(records) if options.checksums else 0
    position = len(file.data)
    content = struct.pack("<QQQI", first, max(times), len(records), checksum)
    content += text(options.compression) + struct.pack("<Q", len(packed)) + packed
    file.data += record(0x06, content)
    length = len(file.data) - position
    places = b""
    if options.indexed(number):
        for channel in sorted({topics.index(one.topic) + 1 for one in part}):
            places += struct.pack("<HQ", channel, len(file.data))
            entries = b"".join(
                struct.pack("<QQ", START + one.time, 0)
                for one in part
                if topics.index(one.topic) + 1 == channel
            )
            file.data += record(0x07, struct.pack("<HI", channel, len(entries)) + entries)
    file.chunk_indexes.append(
        struct.pack("<QQQQI", first, max(times), position, length, len(places))
        + places
        + struct.pack("<Q", len(file.data) - position - length)
        + text(options.compression)
        + struct.pack("<QQ", len(packed), len(records))
    )


def _summary(
    file: _File, samples: Sequence[Sample], schemas: bytes, channels: bytes, options: McapOptions
) -> bytes:
    summary = schemas if options.repeated_schemas else b""
    summary += channels if options.repeated_channels else b""
    if options.statistics:
        times = [START + one.time for one in samples]
        counts = b"".join(
            struct.pack("<HQ", number, count + options.counts)
            for number, count in sorted(file.counts.items())
        )
        count = len(file.counts) + len(options.silent)
        numbers = (len(samples) + options.counts, count, count, 0, 0, len(file.chunk_indexes))
        content = struct.pack("<QHIIIIQQ", *numbers, min(times), max(times))
        summary += record(0x0B, content + struct.pack("<I", len(counts)) + counts)
    if options.chunk_index:
        summary += b"".join(record(0x08, index) for index in file.chunk_indexes)
    return summary
