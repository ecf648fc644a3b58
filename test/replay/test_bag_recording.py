# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings: both storages, split, compressed and broken ones, and every encoding."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bag_reading import assert_is_the_scene, frames_of, metadata_says, storage_file
from bag_samples import (
    IMAGE_TOPIC,
    PERIOD,
    START,
    TRUTH_TOPIC,
    TYPES,
    compressed_image,
    image,
    scene,
    scene_images,
    split_bag,
    text,
    write_bag,
)
from encoded_images import rows_of
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from referdino_core.errors import ImageError, SourceError
from referdino_core.messages.image_encodings import ENCODINGS
from referdino_core.messages.images import image_to_rgb
from referdino_core.replay.bag import Bag
from referdino_core.replay.bag_files import is_bag
from referdino_core.replay.bag_recording import BagRecording
from referdino_core.replay.recording import RecordedCommand, RecordedFrame

COUNT = 8
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3


@pytest.mark.parametrize(
    ("storage", "compression"),
    [
        (MCAP, CompressionMode.NONE),
        (MCAP, CompressionMode.STORAGE),
        (MCAP, CompressionMode.MESSAGE),
        (MCAP, CompressionMode.FILE),
        (SQLITE, CompressionMode.NONE),
        (SQLITE, CompressionMode.MESSAGE),
        (SQLITE, CompressionMode.FILE),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_every_storage_and_compression_is_read(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode, as_file: bool
) -> None:
    bag = write_bag(tmp_path / "bag", scene(COUNT), storage, compression)
    path = storage_file(bag) if as_file else bag

    assert is_bag(path)
    recording = BagRecording(path)
    assert recording.frame_count == COUNT
    assert_is_the_scene(frames_of(recording), COUNT)
    assert recording.problems == []


@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_a_split_bag_is_one_recording(tmp_path: Path, storage: StoragePlugin) -> None:
    samples = scene(COUNT)
    parts = [write_bag(tmp_path / str(n), samples[n : n + 3], storage) for n in (0, 3, 6)]

    recording = BagRecording(split_bag(tmp_path / "bag", parts))

    assert recording.frame_count == COUNT
    assert_is_the_scene(frames_of(recording), COUNT)
    assert recording.problems == []


def test_a_recording_that_was_never_closed_is_read_without_metadata(tmp_path: Path) -> None:
    samples = scene(11)
    parts = [write_bag(tmp_path / str(n), [samples[n]]) for n in range(11)]
    bag = split_bag(tmp_path / "bag", parts)  # bag_10 follows bag_9
    (bag / "metadata.yaml").unlink()

    recording = BagRecording(bag)

    assert_is_the_scene(frames_of(recording), 11)
    assert recording.problems == ["metadata.yaml is missing: the recording was not closed"]


@pytest.mark.parametrize("compression", [CompressionMode.NONE, CompressionMode.STORAGE])
@pytest.mark.parametrize("kept", [0.95, 0.6, 0.3])
def test_a_cut_mcap_is_replayed_up_to_the_break(
    tmp_path: Path, compression: CompressionMode, kept: float
) -> None:
    bag = write_bag(tmp_path / "bag", scene(20), MCAP, compression)
    file = storage_file(bag)
    size = int(file.stat().st_size * kept)
    os.truncate(file, size)

    recording = BagRecording(bag)
    frames = frames_of(recording)

    # As many as lie before the break, also within the chunk that is cut.
    assert 20 * kept - 4 <= len(frames) < 20
    assert_is_the_scene(frames, len(frames))
    counted, problem = recording.problems
    assert "bag.mcap breaks off at byte" in problem and "replayed up to there" in problem
    assert counted == metadata_says(20, len(frames))


def test_an_mcap_without_its_end_loses_nothing(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", scene(COUNT)))
    os.truncate(file, file.stat().st_size - 8)

    recording = BagRecording(file)

    assert_is_the_scene(frames_of(recording), COUNT)


def test_a_damaged_chunk_is_left_out_and_what_is_missing_is_counted(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", scene(20), MCAP, CompressionMode.STORAGE))
    data = bytearray(file.read_bytes())
    damaged = data.index(b"\x28\xb5\x2f\xfd", len(data) // 3)  # where a chunk's data begin
    data[damaged : damaged + 100] = bytes(100)
    file.write_bytes(data)

    recording = BagRecording(file)
    stamps = [frame.stamp for frame in frames_of(recording)]

    assert 15 <= len(stamps) < 20 and stamps == sorted(stamps)
    assert stamps[-1] == START + 19 * PERIOD
    problem, counted = recording.problems
    assert problem.startswith("bag.mcap holds a damaged chunk at byte")
    assert counted == f"bag.mcap announces 20 messages on {IMAGE_TOPIC}; {len(stamps)} were read"


def test_a_break_in_one_file_of_several_does_not_lose_the_next(tmp_path: Path) -> None:
    samples = scene(20)
    bag = split_bag(
        tmp_path / "bag",
        [write_bag(tmp_path / "a", samples[:10]), write_bag(tmp_path / "b", samples[10:])],
    )
    os.truncate(bag / "bag_0.mcap", (bag / "bag_0.mcap").stat().st_size // 2)

    recording = BagRecording(bag)
    stamps = [frame.stamp for frame in frames_of(recording)]

    assert 3 <= len(stamps) - 10 < 10
    assert stamps[-10:] == [START + n * PERIOD for n in range(10, 20)]
    counted, problem = recording.problems
    assert "bag_0.mcap breaks off at byte" in problem
    assert counted == metadata_says(20, len(stamps))


def test_what_a_missing_file_of_several_held_is_counted(tmp_path: Path) -> None:
    samples = scene(COUNT)
    parts = [write_bag(tmp_path / str(n), samples[n : n + 4]) for n in (0, 4)]
    bag = split_bag(tmp_path / "bag", parts)
    (bag / "bag_0.mcap").unlink()

    recording = BagRecording(bag)

    assert [frame.stamp for frame in frames_of(recording)] == [
        START + n * PERIOD for n in range(4, COUNT)
    ]
    assert recording.problems == [
        "bag_0.mcap is missing, which metadata.yaml lists",
        metadata_says(COUNT, COUNT - 4),
    ]


def test_the_only_camera_is_found_beside_truth_and_own_results(tmp_path: Path) -> None:
    samples = [*scene(2, with_truth=True), image(scene_images(1)[0], 0, topic="/referdino/overlay")]
    bag = write_bag(tmp_path / "bag", samples)

    assert BagRecording(bag, truth_topic=TRUTH_TOPIC).topic == IMAGE_TOPIC
    with pytest.raises(SourceError, match=f"--topic: {IMAGE_TOPIC}, {TRUTH_TOPIC}"):
        BagRecording(bag)
    assert BagRecording(bag, topic=TRUTH_TOPIC).topic == TRUTH_TOPIC


def test_a_topic_that_is_not_there_or_no_image_is_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [*scene(1), text("the red ball", 0, "/chatter")])

    with pytest.raises(SourceError, match=r"no topic /missing; its topics: .*/chatter"):
        BagRecording(bag, topic="/missing")
    with pytest.raises(SourceError, match="/chatter holds no images; its type is std_msgs"):
        BagRecording(bag, topic="/chatter")
    with pytest.raises(SourceError, match="commands are std_msgs/msg/String"):
        BagRecording(bag, command_topic=IMAGE_TOPIC, follow_commands=True)


def test_commands_lie_between_the_frames_as_they_were_recorded(tmp_path: Path) -> None:
    commands = [text("first", 5), text("second", 2 * PERIOD - 1)]
    bag = write_bag(tmp_path / "bag", [*scene(3), *commands])

    with BagRecording(bag, follow_commands=True, inputs=()) as recording:
        events = [
            event.text if isinstance(event, RecordedCommand) else event.index
            for event in recording.events()
        ]

    assert events == [0, "first", 1, "second", 2]


def test_every_encoding_is_converted_as_in_the_node(tmp_path: Path) -> None:
    pixels = scene_images(1)[0]
    samples = []
    for n, encoding in enumerate(ENCODINGS):
        sample = image(pixels, n * PERIOD)
        rows = rows_of(pixels, encoding)
        sample.message.encoding, sample.message.step = encoding, rows.shape[1]
        sample.message.data = rows.reshape(-1)
        samples.append(sample)

    frames = frames_of(BagRecording(write_bag(tmp_path / "bag", samples)))

    for frame, sample in zip(frames, samples, strict=True):
        message = SimpleNamespace(**vars_of(sample.message))
        message.data = bytes(message.data)
        converted = frame.pixels()
        assert converted.shape == (240, 320, 3) and converted.flags.writeable
        assert np.array_equal(converted, image_to_rgb(message))


def vars_of(message: object) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__dataclass_fields__}


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_compressed_images_are_decoded(tmp_path: Path, kind: str) -> None:
    pixels = scene_images(2)
    samples = [compressed_image(one, n * PERIOD, kind) for n, one in enumerate(pixels)]

    frames = frames_of(BagRecording(write_bag(tmp_path / "bag", samples)))

    for frame, one in zip(frames, pixels, strict=True):
        difference = np.abs(frame.pixels().astype(int) - one)
        assert difference.max() == 0 if kind == "png" else difference.mean() < 4


def test_an_image_that_makes_no_sense_is_the_frames_own_error(tmp_path: Path) -> None:
    odd = image(np.zeros((4, 3, 2), np.uint8), PERIOD, "yuv422")
    cut = compressed_image(scene_images(1)[0], 0)
    cut.message.data = cut.message.data[:500]
    bag = write_bag(tmp_path / "bag", [odd])

    with pytest.raises(ImageError, match="even width"):
        frames_of(BagRecording(bag))[0].pixels()
    with pytest.raises(ImageError, match="truncated"):
        frames_of(BagRecording(write_bag(tmp_path / "cut", [cut])))[0].pixels()


def test_a_camera_without_a_clock_is_stamped_by_its_arrival(tmp_path: Path) -> None:
    sample = image(scene_images(1)[0], 3 * PERIOD)
    sample.message.header.stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)

    (frame,) = frames_of(BagRecording(write_bag(tmp_path / "bag", [sample])))

    assert frame.stamp == frame.arrival == START + 3 * PERIOD
    assert frame.seconds is None


@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_memory_does_not_grow_with_the_length(tmp_path: Path, storage: StoragePlugin) -> None:
    pixels = cv2.resize(scene_images(1)[0], (640, 480))

    def most_memory(count: int, broken: bool) -> int:
        bag = write_bag(
            tmp_path / f"{count}{broken}",
            (image(pixels, n * PERIOD) for n in range(count)),
            storage,
        )
        if broken:
            os.truncate(storage_file(bag), storage_file(bag).stat().st_size - 100_000)
        tracemalloc.start()
        with BagRecording(bag) as recording:
            for event in recording.events():
                if isinstance(event, RecordedFrame):
                    event.pixels()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    for broken in (False, True):
        assert most_memory(90, broken) < most_memory(30, broken) + pixels.nbytes


def test_an_mcap_without_index_is_read_from_the_front(tmp_path: Path) -> None:
    """As recorders write it that are set to write fast."""
    file = storage_file(write_bag(tmp_path / "bag", scene(COUNT)))
    data = file.read_bytes()
    # The summary's place in the footer: 0 says that there is none.
    footer = data[:-28] + bytes(16) + data[-12:]
    file.write_bytes(footer)

    with Bag(file) as bag:
        assert bag.counts == {IMAGE_TOPIC: COUNT}
    recording = BagRecording(file)
    assert_is_the_scene(frames_of(recording), COUNT)
    assert recording.problems == []
