# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of MCAP files with or without an index, complete or truncated.

A file is scanned once from the front, record by record, skipping the data of chunks. So nothing
depends on the file's summary section: it only saves decompressing every chunk to find the topics.
Messages that the statistics announce and that cannot be read are reported.
"""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from referdino_core.replay import mcap_records as records
from referdino_core.replay.compression import MAX_UNPACKED, DamagedData
from referdino_core.replay.mcap_records import (
    MAGIC,
    MESSAGE_START,
    RECORD_START,
    ChannelRecord,
    Chunk,
    SchemaRecord,
    StatisticsRecord,
)
from referdino_core.replay.storage import (
    CDR,
    Channel,
    RawMessage,
    Storage,
    Unreadable,
    offered_qos,
)

_OPEN_AT_ONCE = MAX_UNPACKED
"""Maximum bytes of decompressed chunks held at once because their times overlap."""
_DESCRIPTIONS = frozenset(
    {
        records.SCHEMA,
        records.CHANNEL,
        records.STATISTICS,
        records.MESSAGE_INDEX,
        records.CHUNK_INDEX,
    }
)

_Numbered = tuple[int, int, bytes]
"""Channel number, log time and data of a message."""


@dataclass
class _Run:
    """A byte range of messages outside chunks, whose log times are non-decreasing."""

    position: int
    end: int
    first: int
    last: int
    size: int


class _Break(Exception):
    """The file cannot be read beyond a byte; the message says where and why."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"at byte {position}: {reason}")


class McapFile(Storage):
    """An MCAP file, which may be truncated or damaged."""

    def __init__(self, path: Path) -> None:
        """Scan the file for its parts and topics.

        Raises:
            Unreadable: this is no MCAP file.
        """
        super().__init__(path)
        self._size = path.stat().st_size
        self._schemas: dict[int, SchemaRecord] = {}
        self._records: dict[int, ChannelRecord] = {}
        self._statistics: StatisticsRecord | None = None
        self._parts: list[Chunk | _Run] = []
        self._counted: Counter[int] = Counter()  # messages by channel, outside or in an index
        self._unlisted: set[int] = set()  # positions of chunks whose messages no index lists
        self._indexed: set[int] = set()  # positions of chunks that the summary knows
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise Unreadable("it does not begin as an MCAP file does")
            self._look_through(file)
            if self._lacks_channels():
                self._look_inside(file)
        if self._statistics is not None:
            self.announced = self._by_topic(self._statistics.messages)
        self.counts = self._by_topic(self._counted) if not self._unlisted else self.announced
        self.channels = tuple(dict.fromkeys(map(self._channel, self._records.values())))

    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        channels: dict[int, Channel] = {}
        found: Counter[str] = Counter()
        unknown = 0
        with self.path.open("rb") as file:
            for number, time, data in self._merged(file):
                if number not in channels:
                    if number not in self._records:
                        unknown += 1
                        continue
                    channels[number] = self._channel(self._records[number])
                channel = channels[number]
                if channel.topic in topics:
                    found[channel.topic] += 1
                    yield RawMessage(channel, time, data)
        for topic in topics:
            announced = self.announced.get(topic, 0)
            if found[topic] < announced:
                self.note_problem(
                    f"announces {announced} messages on {topic}; {found[topic]} were read"
                )
        if unknown:
            self.note_problem(f"does not describe the topics of {unknown} of its messages")

    def _by_topic(self, counts: Mapping[int, int]) -> dict[str, int]:
        found: Counter[str] = Counter()
        for number, record in self._records.items():
            found[record.topic] += counts.get(number, 0)
        return dict(found) if counts else {}

    def _channel(self, record: ChannelRecord) -> Channel:
        schema = self._schemas.get(record.schema)
        return Channel(
            record.topic,
            schema.name if schema else "",
            schema.definition if schema else "",
            offered_qos(record.metadata.get("offered_qos_profiles", "")),
            record.encoding or CDR,
        )

    def _look_through(self, file: BinaryIO) -> None:
        """Find the parts of the file; if it is damaged, by its chunk index."""
        is_over = False
        try:
            for position, kind, length in self._records_from(file, len(MAGIC)):
                is_over = is_over or kind == records.DATA_END
                self._take(file, position, kind, length)
        except _Break as error:
            if is_over:
                return  # the summary is not whole; the data are
            if self._follow_index(file):
                self.note_problem(f"is damaged {error}; what follows was found again")
            else:
                self.note_problem(f"breaks off {error}; replayed up to there")

    def _records_from(self, file: BinaryIO, position: int) -> Iterator[tuple[int, int, int]]:
        """Position, kind and length of every record up to the footer."""
        while True:
            if position > self._size:
                raise _Break(self._size, "it ends in the middle of a record")
            file.seek(position)
            start = file.read(RECORD_START.size)
            if len(start) < RECORD_START.size:
                raise _Break(position, "the recording was not closed")
            kind, length = RECORD_START.unpack(start)
            if kind == records.FOOTER and length == records.FOOTER_LENGTH:
                return
            if kind in (records.INVALID, records.FOOTER):
                raise _Break(position, "there is no record")
            yield position, kind, length
            position += RECORD_START.size + length

    def _take(self, file: BinaryIO, position: int, kind: int, length: int) -> None:
        """Handle a record; the file is positioned after the record's length."""
        if kind == records.CHUNK:
            self._take_chunk(file, position, length)
            return
        end = position + RECORD_START.size + length
        if end > self._size:
            raise _Break(position, "it ends in the middle of a record")
        if kind == records.MESSAGE:
            self._take_message(file.read(MESSAGE_START.size), position, end)
        elif kind in _DESCRIPTIONS and length <= MAX_UNPACKED:
            self._describe(kind, file.read(length), position)

    def _take_chunk(self, file: BinaryIO, position: int, length: int) -> None:
        start = file.read(records.CHUNK_START.size)
        if len(start) < records.CHUNK_START.size:
            raise _Break(position, "it ends in the middle of a chunk")
        first, last, size, checksum, name = records.CHUNK_START.unpack(start)
        rest = file.read(min(name, 64) + 8)
        if len(rest) < name + 8:
            raise _Break(position, "it ends in the middle of a chunk")
        (stored,) = struct.unpack_from("<Q", rest, name)
        data = position + RECORD_START.size + len(start) + len(rest)
        is_cut = data + stored > self._size or position + RECORD_START.size + length > self._size
        stored = min(stored, self._size - data)
        compression = rest[:name].decode("utf-8", "replace")
        chunk = Chunk(position, data, stored, is_cut, first, last, size, checksum, compression)
        self._parts.append(chunk)
        self._unlisted.add(position)
        if is_cut:
            raise _Break(position, "it ends in the middle of a chunk")

    def _take_message(self, start: bytes, position: int, end: int) -> None:
        length = end - position - RECORD_START.size
        if not MESSAGE_START.size <= length <= MAX_UNPACKED or len(start) < MESSAGE_START.size:
            raise _Break(position, "there is no record")
        number, _, time, _ = MESSAGE_START.unpack(start)
        self._counted[number] += 1
        run = self._parts[-1] if self._parts else None
        if isinstance(run, _Run) and time >= run.last:
            run.end, run.last, run.size = end, time, max(run.size, end - position)
        else:
            self._parts.append(_Run(position, end, time, time, end - position))

    def _describe(self, kind: int, content: bytes, position: int) -> None:
        """Handle a record that describes others."""
        try:
            if kind == records.SCHEMA:
                schema = records.parse_schema(content)
                self._schemas[schema.number] = schema
            elif kind == records.CHANNEL:
                channel = records.parse_channel(content)
                self._records[channel.number] = channel
            elif kind == records.STATISTICS:
                self._statistics = records.parse_statistics(content)
            elif kind == records.CHUNK_INDEX:
                self._indexed.add(records.parse_chunk_index(content))
            elif self._parts and isinstance(self._parts[-1], Chunk):
                number, count = records.parse_message_index(content)
                self._counted[number] += count
                self._unlisted.discard(self._parts[-1].position)
        except (struct.error, DamagedData) as error:
            self.note_problem(f"holds a damaged record at byte {position}: {error}")

    def _follow_index(self, file: BinaryIO) -> bool:
        """Add the chunks that only the summary lists; returns whether there are any."""
        file.seek(max(0, self._size - records.FOOTER_END.size))
        end = file.read()
        if len(end) < records.FOOTER_END.size:
            return False
        kind, _, summary, _, _, magic = records.FOOTER_END.unpack(end)
        if kind != records.FOOTER or magic != MAGIC or not summary:
            return False
        known = {part.position for part in self._parts}
        try:
            for position, kind, length in self._records_from(file, summary):
                if kind in _DESCRIPTIONS:
                    self._take(file, position, kind, length)
            found = sorted(one for one in self._indexed - known if one < self._size)
            for position in found:
                file.seek(position)
                kind, length = RECORD_START.unpack(file.read(RECORD_START.size))
                if kind == records.CHUNK:
                    self._take_chunk(file, position, length)
        except (_Break, struct.error):
            return False
        return bool(found)

    def _lacks_channels(self) -> bool:
        """Whether chunks must be read to know all channels."""
        if any(one.schema and one.schema not in self._schemas for one in self._records.values()):
            return True
        numbers = set(self._counted)
        if self._statistics is not None:
            if self._statistics.channels > len(self._records):
                return True
            numbers.update(self._statistics.messages)
        elif self._unlisted:
            return True
        return not numbers <= set(self._records)

    def _look_inside(self, file: BinaryIO) -> None:
        """Decompress chunks until all channels are known; count messages without an index."""
        for part in self._parts:
            if not isinstance(part, Chunk):
                continue
            places = self._places_in(self._unpacked(file, part), part)
            if part.position in self._unlisted:
                self._unlisted.remove(part.position)
                self._counted.update(number for _, number, _, _ in places)
            if not self._lacks_channels():
                return

    def _merged(self, file: BinaryIO) -> Iterator[_Numbered]:
        """Messages in order of time, merged from chunks whose times overlap."""
        coming = sorted(enumerate(self._parts), key=lambda one: one[1].first, reverse=True)
        opened: list[tuple[int, int, _Numbered, Iterator[_Numbered]]] = []
        room = _OPEN_AT_ONCE
        while coming or opened:
            while coming and (not opened or (room > 0 and coming[-1][1].first <= opened[0][0])):
                place, part = coming.pop()
                rest = self._messages_of(file, part)
                message = next(rest, None)
                if message is not None:
                    room -= part.size
                    heapq.heappush(opened, (message[1], place, message, rest))
            if not opened:
                return
            _, place, message, rest = opened[0]
            yield message
            following = next(rest, None)
            if following is None:
                heapq.heappop(opened)
                room += self._parts[place].size
            else:
                heapq.heapreplace(opened, (following[1], place, following, rest))

    def _messages_of(self, file: BinaryIO, part: Chunk | _Run) -> Iterator[_Numbered]:
        """The messages of a part, in order of time."""
        if isinstance(part, Chunk):
            unpacked = self._unpacked(file, part)
            for time, number, start, end in self._places_in(unpacked, part):
                yield number, time, unpacked[start:end]
            return
        position = part.position
        while position < part.end:
            file.seek(position)
            kind, length = RECORD_START.unpack(file.read(RECORD_START.size))
            if kind == records.MESSAGE:
                number, _, time, _ = MESSAGE_START.unpack(file.read(MESSAGE_START.size))
                yield number, time, file.read(length - MESSAGE_START.size)
            position += RECORD_START.size + length

    def _unpacked(self, file: BinaryIO, chunk: Chunk) -> bytes:
        """The records of a chunk; none if it is damaged, which becomes a problem."""
        file.seek(chunk.data)
        try:
            return chunk.unpack(file.read(min(chunk.stored, MAX_UNPACKED)))
        except DamagedData as error:
            self.note_problem(f"holds a damaged chunk at byte {chunk.position}, left out: {error}")
            return b""

    def _places_in(self, data: bytes, chunk: Chunk) -> list[tuple[int, int, int, int]]:
        """Log time, channel, start and end of the data of every message, in order of time."""
        places: list[tuple[int, int, int, int]] = []
        position = 0
        while position + RECORD_START.size <= len(data):
            kind, length = RECORD_START.unpack_from(data, position)
            position += RECORD_START.size
            end = position + length
            if end > len(data):
                break
            if kind == records.MESSAGE and length >= MESSAGE_START.size:
                number, _, time, _ = MESSAGE_START.unpack_from(data, position)
                places.append((time, number, position + MESSAGE_START.size, end))
            elif kind in (records.SCHEMA, records.CHANNEL):
                self._describe(kind, data[position:end], chunk.position)
            position = end
        places.sort(key=lambda one: one[0])
        return places
