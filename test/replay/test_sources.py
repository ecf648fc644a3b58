# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What runs make of videos, image folders, and recordings that are broken, old or unusual."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from bag_samples import (
    IMAGE,
    IMAGE_TOPIC,
    PERIOD,
    START,
    TYPES,
    scene,
    scene_images,
    write_bag,
)
from replay_cases import (
    BALL,
    messages_of,
)
from rosbags.highlevel import AnyReader
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer

from referdino_core.errors import SourceError
from referdino_core.files import OutputError
from referdino_core.media.writers import write_image
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.session.model_choice import LoadedModel

pytest_plugins = ("replay_fixtures",)


def test_frames_that_make_no_sense_are_named_and_counted(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    samples = scene(5)
    samples[0].message.encoding = samples[3].message.encoding = "64FC7"
    samples[4].message.header.stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
    bag = write_bag(tmp_path / "bag", samples)

    run = RunFolder(replay(ReplayJob(bag, tmp_path / "run", sentences=(BALL,)), loaded))

    errors = [frame["error"] for frame in run.frames()]
    assert [error is None for error in errors] == [False, True, True, False, True]
    assert "64FC7" in errors[0]
    assert run.summary["frames"] == {"read": 5, "answered": 3, "dropped": 0, "late": 0, "failed": 2}
    (problem,) = run.summary["problems"]
    assert problem.startswith("2 frames could not be processed; the first: frame 0:")
    video = cv2.VideoCapture(str(run.overlay))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_a_source_without_a_single_good_image_is_an_error(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    samples = scene(2)
    for sample in samples:
        sample.message.encoding = "64FC7"
    bag = write_bag(tmp_path / "bag", samples)

    with pytest.raises(SourceError, match="Not a single image"):
        replay(ReplayJob(bag, tmp_path / "run", sentences=(BALL,)), loaded)

    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_video_is_replayed_with_commands_from_a_file(loaded: LoadedModel, tmp_path: Path) -> None:
    commands = tmp_path / "commands.yaml"
    commands.write_text(f"- {{at: 0.25, text: {BALL}}}\n- {{at: 0.55, text: ''}}\n")
    source = tmp_path / "scene.mp4"
    video = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (320, 240))
    for pixels in scene_images(8):
        video.write(pixels[..., ::-1])
    video.release()

    run = RunFolder(replay(ReplayJob(source, tmp_path / "run", command_file=commands), loaded))

    counts = [len(frame["targets"]) for frame in run.frames()]
    assert counts == [0, 0, 0, 1, 1, 1, 0, 0]
    assert [frame["stamp"] for frame in run.frames()][:3] == [0, PERIOD, 2 * PERIOD]
    assert run.summary["source"]["kind"] == "video"
    (given,) = run.summary["commands"]
    assert (given["at"], given["until"]) == (0.25, 0.55)
    topics = {topic for topic, _, _ in messages_of(run.results)}
    assert len(topics) == 4 and "/referdino/objects" in topics


def test_a_folder_of_images_with_a_broken_one_is_replayed(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    for place, pixels in enumerate(scene_images(4)):
        write_image(tmp_path / "images" / f"{place}.png", pixels)
    for place in (1, 3):
        (tmp_path / "images" / f"{place}.png").write_bytes(b"no image")
    job = ReplayJob(tmp_path / "images", tmp_path / "run", sentences=(BALL,), frame_rate=5.0)

    run = RunFolder(replay(job, loaded))

    assert [bool(frame["error"]) for frame in run.frames()] == [False, True, False, True]
    assert [frame["stamp"] for frame in run.frames()] == [n * 200_000_000 for n in range(4)]
    assert "1.png" in run.summary["problems"][0]


def test_a_broken_recording_is_replayed_and_the_summary_says_so(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", scene(8))
    file = bag / "bag.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    run = RunFolder(replay(ReplayJob(bag, tmp_path / "run", sentences=(BALL,)), loaded))

    assert 2 <= run.summary["frames"]["answered"] < 8
    counted, problem = run.summary["problems"]
    assert "breaks off at byte" in problem
    assert counted.startswith("metadata.yaml announces 8 messages")


def test_commands_whose_objects_nobody_knows_are_refused_at_the_start(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    unknown = replace(job, out=tmp_path / "run", sentences=(BALL,), meanings=())

    with pytest.raises(SourceError, match="does not say which object"):
        replay(unknown, loaded)

    assert not unknown.out.exists()


def test_without_commands_there_is_nothing_to_find(loaded: LoadedModel, tmp_path: Path) -> None:
    job = ReplayJob(write_bag(tmp_path / "bag", scene(1)), tmp_path / "run")

    with pytest.raises(SourceError, match=r"nothing to find.*no command topic was recorded"):
        replay(job, loaded)


ODOMETER = "# Metres since the start.\nfloat64 metres\nstd_msgs/Header header\n"


def bag_with_an_odometer(path: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    """A bag with a message type that nobody but the bag knows."""
    with Writer(path, version=9, storage_plugin=storage) as writer:
        camera = writer.add_connection(IMAGE_TOPIC, IMAGE, typestore=TYPES)
        odometer = writer.add_connection(
            "/odometer", "rover_msgs/msg/Odometer", msgdef=ODOMETER, rihs01="RIHS01_unknown"
        )
        for sample in scene(3):
            time = START + sample.time
            writer.write(camera, time, TYPES.serialize_cdr(sample.message, IMAGE))
            writer.write(odometer, time + 1, b"\0\1\0\0" + bytes(20))
    return path


def test_inputs_of_unknown_types_are_copied_with_their_definitions(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    bag = bag_with_an_odometer(tmp_path / "bag")
    job = ReplayJob(bag, tmp_path / "run", sentences=(BALL,), inputs=("/odometer",))

    run = RunFolder(replay(job, loaded))

    with AnyReader([run.results]) as reader:
        (copied,) = (one for one in reader.connections if one.topic == "/odometer")
        assert (copied.msgtype, copied.msgcount) == ("rover_msgs/msg/Odometer", 3)
        assert copied.msgdef.data == ODOMETER
        assert all(data == b"\0\1\0\0" + bytes(20) for _, _, data in reader.messages([copied]))
        assert IMAGE_TOPIC not in {one.topic for one in reader.connections}
        formats = {one.msgdef.format for one in reader.connections}
    assert formats == {MessageDefinitionFormat.MSG}


def test_an_old_recording_without_definitions_is_replayed(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    """SQLite before Iron holds no definitions: what is not a common type cannot be copied."""
    bag = bag_with_an_odometer(tmp_path / "bag", StoragePlugin.SQLITE3)
    with sqlite3.connect(bag / "bag.db3") as database:
        database.execute("DROP TABLE schema")
        database.execute("DROP TABLE message_definitions")
    database.close()
    job = ReplayJob(bag, tmp_path / "run", sentences=(BALL,))

    assert RunFolder(replay(job, loaded)).summary["frames"]["answered"] == 3
    with pytest.raises(OutputError, match=r"rover_msgs/msg/Odometer .* out of --inputs"):
        replay(replace(job, out=tmp_path / "other", inputs=("/odometer",)), loaded)
