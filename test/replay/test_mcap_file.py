# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""MCAP files as their writers really leave them, and reports of damaged ones."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from bag_samples import IMAGE_TOPIC, PERIOD, START, Sample, image, scene, text
from mcap_samples import COMPRESSORS, McapOptions, write_mcap
from mcap_samples import text as string

from referdino_core.errors import SourceError
from referdino_core.replay import compression
from referdino_core.replay.bag import Bag
from referdino_core.replay.bag_recording import BagRecording
from referdino_core.replay.mcap_file import McapFile
from referdino_core.replay.recording import RecordedCommand, RecordedFrame
from referdino_core.replay.storage import Unreadable

COUNT = 6
ATTACHMENT = struct.pack("<QQ", 0, 0) + string("a") + string("b") + struct.pack("<QI", 0, 0)
METADATA = string("rosbag2") + string("")


def never(number: int) -> bool:
    return False


def every_second(number: int) -> bool:
    return number % 2 == 0


def small_scene(count: int = COUNT) -> list[Sample]:
    return [image(np.full((8, 8, 3), n, np.uint8), n * PERIOD) for n in range(count)]


def stamps_of(recording: BagRecording) -> list[int]:
    with recording:
        events = recording.events()
        return [event.stamp for event in events if isinstance(event, RecordedFrame)]


def stamps(count: int = COUNT) -> list[int]:
    return [START + n * PERIOD for n in range(count)]


VARIANTS = {
    "everything": McapOptions(),
    "lz4": McapOptions(compression="lz4"),
    "zstd": McapOptions(compression="zstd"),
    "no checksums": McapOptions(checksums=False),
    "no message index": McapOptions(per_chunk=1, indexed=never),
    "no message index at some chunks": McapOptions(per_chunk=1, indexed=every_second),
    "no channels in the summary": McapOptions(repeated_channels=False),
    "no schemas in the summary": McapOptions(repeated_schemas=False),
    "statistics alone": McapOptions(
        repeated_schemas=False, repeated_channels=False, chunk_index=False, indexed=never
    ),
    "no statistics": McapOptions(statistics=False),
    "no statistics, no message index": McapOptions(statistics=False, indexed=never),
    "no chunk index": McapOptions(chunk_index=False),
    "no summary": McapOptions(summary=False),
    "no summary, no message index": McapOptions(summary=False, indexed=never),
    "no footer": McapOptions(summary=False, footer=False),
    "no chunks": McapOptions(per_chunk=0),
    "no chunks, no summary": McapOptions(per_chunk=0, summary=False),
    "definitions outside of chunks": McapOptions(channels_outside=True, channels_inside=False),
    "other records": McapOptions(
        per_chunk=1,
        extra=[(0x09, ATTACHMENT), (0x0C, METADATA), (0x7E, b"reserved"), (0xF0, b"private")],
    ),
    "a topic without messages": McapOptions(silent=["/camera/other"]),
    "statistics that are too low": McapOptions(counts=-3),
    "chunks that tell no time": McapOptions(per_chunk=1, first_times=0),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_everything_is_read_whatever_the_writer_leaves_out(
    tmp_path: Path, name: str, is_reversed: bool
) -> None:
    samples = small_scene()
    samples = samples[::-1] if is_reversed else samples
    file = write_mcap(tmp_path / "drive.mcap", samples, VARIANTS[name])

    recording = BagRecording(file)

    assert recording.frame_count == COUNT
    assert stamps_of(recording) == stamps()
    assert recording.problems == []


def test_a_file_that_was_not_closed_is_read_and_reported(tmp_path: Path) -> None:
    options = McapOptions(summary=False, data_end=False, footer=False)
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), options)

    recording = BagRecording(file)

    assert stamps_of(recording) == stamps()
    (problem,) = recording.problems
    size = file.stat().st_size
    assert problem == (
        f"drive.mcap breaks off at byte {size}: the recording was not closed; replayed up to there"
    )


def test_what_the_statistics_announce_and_is_not_there_is_reported(tmp_path: Path) -> None:
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), McapOptions(counts=4))

    recording = BagRecording(file)

    assert stamps_of(recording) == stamps()
    assert recording.problems == [f"drive.mcap announces 10 messages on {IMAGE_TOPIC}; 6 were read"]


def chunk_positions(data: bytes) -> list[int]:
    """Where the chunks of a file begin."""
    position, found = 8, []
    while position < len(data):
        kind, length = struct.unpack_from("<BQ", data, position)
        if kind == 0x06:
            found.append(position)
        if kind == 0x02:
            break
        position += 9 + length
    return found


@pytest.mark.parametrize("compressed", ["", "lz4", "zstd"])
def test_a_chunk_with_a_wrong_checksum_is_left_out_and_reported(
    tmp_path: Path, compressed: str
) -> None:
    options = McapOptions(per_chunk=2, compression=compressed)
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), options)
    data = bytearray(file.read_bytes())
    second = chunk_positions(data)[1]
    struct.pack_into("<I", data, second + 9 + 24, 12345)
    file.write_bytes(data)

    recording = BagRecording(file)

    assert stamps_of(recording) == [*stamps()[:2], *stamps()[4:]]
    assert recording.problems == [
        f"drive.mcap holds a damaged chunk at byte {second}, left out: its checksum is wrong",
        f"drive.mcap announces 6 messages on {IMAGE_TOPIC}; 4 were read",
    ]


def test_a_damaged_length_loses_one_chunk_where_the_index_knows_the_others(
    tmp_path: Path,
) -> None:
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), McapOptions(per_chunk=2))
    data = bytearray(file.read_bytes())
    second = chunk_positions(data)[1]
    data[second : second + 40] = bytes(40)
    file.write_bytes(data)

    recording = BagRecording(file)

    assert stamps_of(recording) == [*stamps()[:2], *stamps()[4:]]
    assert recording.problems[0] == (
        f"drive.mcap is damaged at byte {second}: there is no record; what follows was found again"
    )


def test_a_tail_of_zeros_is_where_the_file_breaks_off(tmp_path: Path) -> None:
    """As file systems leave it after a loss of power."""
    options = McapOptions(summary=False, data_end=False, footer=False)
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), options)
    size = file.stat().st_size
    os.truncate(file, size + 100_000_000)  # takes no room on the disk

    recording = BagRecording(file)

    assert stamps_of(recording) == stamps()
    assert f"breaks off at byte {size}: there is no record" in recording.problems[0]


@pytest.mark.parametrize("compressed", ["lz4", "zstd"])
@pytest.mark.parametrize(
    ("size", "said"),
    [
        (100, "unpacks to more than the 100 bytes that it announces"),
        (1 << 40, "announces 1099511627776 bytes, and at most 1073741824 are taken"),
        (100_000, "instead of 100000 bytes"),
    ],
)
def test_a_chunk_that_lies_about_its_size_is_left_out(
    tmp_path: Path, compressed: str, size: int, said: str
) -> None:
    options = McapOptions(compression=compressed)
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), options)
    data = bytearray(file.read_bytes())
    struct.pack_into("<Q", data, chunk_positions(data)[0] + 9 + 16, size)
    file.write_bytes(data)

    recording = BagRecording(file)

    assert stamps_of(recording) == stamps()[3:]
    assert said in recording.problems[0]


@pytest.mark.parametrize("compressed", ["lz4", "zstd"])
def test_unpacking_a_chunk_takes_no_more_memory_than_it_announces(compressed: str) -> None:
    bomb = COMPRESSORS[compressed](bytes(300_000_000))
    tracemalloc.start()
    with pytest.raises(compression.DamagedData, match="more than the 1000 bytes"):
        compression.unpack(bomb, compressed, 1000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10_000_000


def test_unpacking_a_message_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = COMPRESSORS["zstd"](bytes(10_000))
    assert compression.unpack_message(packed) == bytes(10_000)

    monkeypatch.setattr(compression, "MAX_UNPACKED", 1000)
    with pytest.raises(compression.DamagedData, match="unpacks to 1000 bytes and more"):
        compression.unpack_message(packed)


def test_messages_of_topics_that_nothing_describes_are_counted(tmp_path: Path) -> None:
    samples = [*small_scene(), text("the red ball", 5)]
    options = McapOptions(summary=False, channels_outside=True, channels_inside=False)
    file = write_mcap(tmp_path / "drive.mcap", samples, options)
    data = bytearray(file.read_bytes())
    second = data.index(struct.pack("<BQHH", 0x04, 37, 2, 2))  # the second channel's record
    data[second] = 0xF0
    file.write_bytes(data)

    recording = BagRecording(file)

    assert stamps_of(recording) == stamps()
    assert recording.problems == ["drive.mcap does not describe the topics of 1 of its messages"]


def test_the_only_topic_with_images_needs_no_choice(tmp_path: Path) -> None:
    options = McapOptions(silent=["/camera/depth", "/camera/other"])
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), options)

    assert BagRecording(file).topic == IMAGE_TOPIC


def test_commands_in_chunks_of_their_own_lie_between_the_frames(tmp_path: Path) -> None:
    samples = [*small_scene(), text("first", 5), text("second", 2 * PERIOD + 1)]
    file = write_mcap(tmp_path / "drive.mcap", samples, McapOptions(per_chunk=2))

    with BagRecording(file, follow_commands=True) as recording:
        events = [
            event.text if isinstance(event, RecordedCommand) else event.index
            for event in recording.events()
            if isinstance(event, RecordedCommand | RecordedFrame)
        ]

    assert events == [0, "first", 1, 2, "second", 3, 4, 5]


@pytest.mark.parametrize(
    ("encoding", "schema", "type_name", "said"),
    [
        ("ros1", "ros1msg", "sensor_msgs/Image", "holds messages of ROS 1, not of ROS 2"),
        ("protobuf", "protobuf", "foxglove.RawImage", "serialised as protobuf"),
    ],
)
def test_messages_of_other_systems_are_called_what_they_are(
    tmp_path: Path, encoding: str, schema: str, type_name: str, said: str
) -> None:
    options = McapOptions(encoding=encoding, schema_encoding=schema, type_name=type_name)
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), options)

    with pytest.raises(SourceError, match=said):
        BagRecording(file)


def test_counts_come_from_the_index_where_nothing_else_tells(tmp_path: Path) -> None:
    options = McapOptions(statistics=False)
    with Bag(write_mcap(tmp_path / "drive.mcap", small_scene(), options)) as bag:
        assert bag.counts == {IMAGE_TOPIC: COUNT}


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_is_more_than_a_problem_that_is_reported(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    options = McapOptions(
        per_chunk=generator.choice([0, 2, 3]),
        compression=generator.choice(["", "lz4", "zstd"]),
        repeated_channels=generator.random() < 0.5,
    )
    file = write_mcap(tmp_path / "drive.mcap", small_scene(), options)
    data = bytearray(file.read_bytes())
    for _ in range(generator.randint(1, 3)):
        place = generator.randrange(len(data))
        damage = [bytes(100), b"\xff" * 8, generator.randbytes(20)]
        data[place : place + 8] = generator.choice(damage)
    file.write_bytes(data[: generator.choice([len(data), generator.randrange(len(data))])])

    try:
        storage = McapFile(file)
    except Unreadable:
        return
    found = len(list(storage.messages({IMAGE_TOPIC})))
    renamed = IMAGE_TOPIC not in {channel.topic for channel in storage.channels}
    assert found == COUNT or storage.problems or renamed


def test_a_long_scene_is_the_same_from_every_writer(tmp_path: Path) -> None:
    samples = scene(4)
    files = [
        write_mcap(tmp_path / f"{number}.mcap", samples, options)
        for number, options in enumerate(VARIANTS.values())
    ]

    wanted = None
    for file in files:
        with Bag(file) as bag:
            found = [(one.time, one.channel, one.data) for one in bag.messages({IMAGE_TOPIC})]
        wanted = wanted or found
        assert found == wanted and len(found) == 4
