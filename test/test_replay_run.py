# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs: equal bytes, resumption after a kill, what is in the results, bad input, scores."""

from __future__ import annotations

import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_samples import (
    COMMAND_TOPIC,
    IMAGE,
    IMAGE_TOPIC,
    PERIOD,
    START,
    TRUTH_TOPIC,
    TYPES,
    image,
    scene,
    scene_images,
    scene_labels,
    text,
    write_bag,
)
from rosbags.highlevel import AnyReader
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer

import referdino_core as rd
from referdino_core.errors import SourceError
from referdino_core.media import run_lengths
from referdino_core.media.compressed_image_messages import compressed_image_to_rgb
from referdino_core.media.partial_file import OutputError, growing_path
from referdino_core.media.writers import write_image
from referdino_core.replay.clocks import AsLive
from referdino_core.replay.job import ReplayJob
from referdino_core.replay.message_types import DEFINITIONS
from referdino_core.replay.progress import RunInterrupted, RunWatch
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.replay.unfinished_run import SNAPSHOT_NAME
from referdino_core.session.model_choice import LoadedModel, load

COUNT = 24
BALL, SPHERE = "the small purple ball", "the purple sphere left of the orange cylinder"
MEANINGS = ((BALL, (2,)), (SPHERE, (5,)))
DETERMINISTIC = ("frames.jsonl", "results.mcap", "summary.json", "overlay.mp4")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load(ReplayJob(Path(), Path()).model)


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    commands = [text(BALL, -PERIOD), text(SPHERE, 12 * PERIOD + 1)]
    samples = [*scene(COUNT, with_truth=True), *commands]
    return write_bag(tmp_path_factory.mktemp("recording") / "bag", samples)


@pytest.fixture(scope="module")
def job(bag: Path, tmp_path_factory: pytest.TempPathFactory) -> ReplayJob:
    out = tmp_path_factory.mktemp("runs") / "first"
    return ReplayJob(bag, out, truth=f"topic:{TRUTH_TOPIC}", meanings=MEANINGS)


@pytest.fixture(scope="module")
def first(job: ReplayJob, loaded: LoadedModel) -> RunFolder:
    return RunFolder(replay(job, loaded))


def assert_equal_results(one: Path, other: Path) -> None:
    for name in DETERMINISTIC:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def messages_of(path: Path) -> list[tuple[str, int, Any]]:
    """Topic, nanoseconds and message of everything in a bag, read with its own definitions."""
    with AnyReader([path]) as reader:
        return [
            (connection.topic, time, reader.deserialize(data, connection.msgtype))
            for connection, time, data in reader.messages()
        ]


def test_two_runs_have_equal_bytes(job: ReplayJob, first: RunFolder, loaded: LoadedModel) -> None:
    second = replay(replace(job, out=first.path.with_name("second")), loaded)

    assert_equal_results(first.path, second)
    assert sorted(path.name for path in second.iterdir()) == sorted(
        [*DETERMINISTIC, "timing.jsonl"]
    )


def test_a_run_gives_what_the_session_gives(first: RunFolder) -> None:
    session = rd.Session("nano")
    session.command(BALL)

    for frame, pixels in zip(first.frames(), scene_images(12), strict=False):
        (target,) = session.step(pixels, START / 10**9 + frame["index"] / 10)
        (record,) = frame["targets"]
        assert frame["stamp"] == START + frame["index"] * PERIOD
        assert (record["command"], record["state"]) == (BALL, target.state.value)
        assert (record["score"], record["frame_score"]) == (target.score, target.frame_score)
        assert record["box"] == (target.box and list(target.box))
        mask = run_lengths.decode(record["mask"]["counts"], *record["mask"]["size"])
        assert np.array_equal(mask, target.mask)


KILLED_RUN = """
import pickle, sys
from referdino_core.replay import run
run.FRAMES_BETWEEN_SNAPSHOTS = 4
run.replay(pickle.load(open(sys.argv[1], "rb")))
"""


def killed_run(job: ReplayJob, frames: int) -> None:
    """Run in a process of its own, which is killed once its snapshot has passed so many frames."""
    import torch

    description = job.out.with_suffix(".job")
    description.write_bytes(pickle.dumps(job))
    process = subprocess.Popen([sys.executable, "-c", KILLED_RUN, str(description)])
    deadline = time.monotonic() + 120
    snapshot = job.out / SNAPSHOT_NAME
    while not snapshot.exists() or torch.load(snapshot)["frames"] < frames:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_run_that_was_killed_twice_goes_on_and_gives_equal_bytes(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = replace(job, out=first.path.with_name("killed"))
    killed_run(killed, 4)
    with pytest.raises(SourceError, match="holds an unfinished run"):
        RunFolder(killed.out)
    killed_run(killed, 12)
    stepped: list[int] = []
    step = loaded.session.step
    monkeypatch.setattr(
        loaded.session, "step", lambda *values: (stepped.append(1), step(*values))[1]
    )

    replay(killed, loaded)

    assert 0 < len(stepped) <= COUNT - 12  # what was done was not computed again
    assert_equal_results(first.path, killed.out)
    assert len(list(RunFolder(killed.out).timing())) == COUNT
    assert not [path for path in killed.out.iterdir() if path.name.startswith(".")]


def test_a_run_that_was_stopped_goes_on_and_gives_equal_bytes(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel
) -> None:
    stopped = replace(job, out=first.path.with_name("stopped"))
    done: list[int] = []
    watch = RunWatch(on_frame=done.append, stop_requested=lambda: done[-1] == 9)
    with pytest.raises(RunInterrupted, match="after 9 frames"):
        replay(stopped, loaded, watch)
    assert sorted(path.name for path in stopped.out.iterdir()) == [
        ".frames.partial.jsonl",
        SNAPSHOT_NAME,
        ".timing.partial.jsonl",
    ]

    other = replace(stopped, topic=IMAGE_TOPIC, clock=AsLive((1,), ""))
    with pytest.raises(SourceError, match=r"differs in: clock, topic\..*--restart"):
        replay(other, loaded)
    replay(stopped, loaded)

    assert_equal_results(first.path, stopped.out)


def test_restart_gives_an_unfinished_run_up(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel
) -> None:
    stopped = replace(job, out=first.path.with_name("restarted"))
    done: list[int] = []
    with pytest.raises(RunInterrupted):
        replay(stopped, loaded, RunWatch(on_frame=done.append, stop_requested=lambda: True))

    other = replace(stopped, sentences=(SPHERE,), restart=True)
    summary = RunFolder(replay(other, loaded)).summary

    assert [one["text"] for one in summary["commands"]] == [SPHERE]


def test_a_snapshot_without_its_journal_is_not_believed(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel
) -> None:
    stopped = replace(job, out=first.path.with_name("journal"))
    done: list[int] = []
    watch = RunWatch(on_frame=done.append, stop_requested=lambda: done[-1] == 9)
    with pytest.raises(RunInterrupted):
        replay(stopped, loaded, watch)
    journal = growing_path(stopped.out / "frames.jsonl")
    journal.write_bytes(journal.read_bytes()[:-10])

    replay(stopped, loaded)

    assert_equal_results(first.path, stopped.out)


def test_results_lie_beside_the_inputs_with_untouched_headers(bag: Path, first: RunFolder) -> None:
    found = messages_of(first.results)
    recorded = messages_of(bag)

    for topic in (IMAGE_TOPIC, COMMAND_TOPIC):
        copies = [(time, message) for one, time, message in found if one == topic]
        originals = [(time, message) for one, time, message in recorded if one == topic]
        assert len(copies) == len(originals) > 0
        assert [repr(copy) for copy in copies] == [repr(original) for original in originals]
    headers = [repr(message.header) for topic, _, message in recorded if topic == IMAGE_TOPIC]
    for topic in ("objects", "mask", "overlay/compressed", "detections"):
        results = [(t, one) for name, t, one in found if name == f"/referdino/{topic}"]
        assert [repr(one.header) for _, one in results] == headers
        assert [t for t, _ in results] == [START + n * PERIOD for n in range(COUNT)]
    assert TRUTH_TOPIC not in {topic for topic, _, _ in found}


def test_result_messages_say_what_the_journal_says(first: RunFolder) -> None:
    found: dict[str, list[Any]] = {}
    for topic, _, message in messages_of(first.results):
        found.setdefault(topic.removeprefix("/referdino/"), []).append(message)

    for frame in first.frames():
        place = frame["index"]
        (record,) = frame["targets"]
        (one,) = found["objects"][place].objects
        assert (one.command_id, one.command) == (record["command_id"], record["command"])
        assert getattr(one, record["state"].upper()) == one.state
        assert (one.track_id, one.score) == (record["track_id"], np.float32(record["score"]))
        assert one.mask.counts == record["mask"]["counts"]
        mask = run_lengths.decode(one.mask.counts, one.mask.height, one.mask.width)
        labels = found["mask"][place]
        assert labels.encoding == "mono8"
        assert np.array_equal(labels.data.reshape(240, 320), mask)
        detections = found["detections"][place].detections
        assert len(detections) == (record["box"] is not None)
        for seen in detections:
            left, top, right, bottom = record["box"]
            assert seen.id == str(record["track_id"])
            assert seen.bbox.center.position.x == pytest.approx((left + right) / 2)
            assert seen.bbox.size_y == pytest.approx(bottom - top)
            assert seen.results[0].hypothesis.class_id == record["command"]
        picture = compressed_image_to_rgb(found["overlay/compressed"][place])
        difference = np.abs(picture.astype(int) - scene_images(COUNT)[place])
        assert picture.shape == (240, 320, 3)
        assert mask.any() == (difference[mask].mean() > 20 if mask.any() else False)


def test_the_overlay_has_one_picture_per_frame(first: RunFolder) -> None:
    video = cv2.VideoCapture(str(first.overlay))
    count = 0
    while video.read()[0]:
        count += 1
    assert count == COUNT
    assert video.get(cv2.CAP_PROP_FPS) == first.summary["source"]["frame_rate"] == 10.0


def test_the_summary_says_what_was_run(job: ReplayJob, first: RunFolder) -> None:
    summary = first.summary
    assert summary["source"] == {
        "path": str(job.source),
        "kind": "bag",
        "topic": IMAGE_TOPIC,
        "frames": COUNT,
        "seconds": pytest.approx(2.3),
        "width": 320,
        "height": 240,
        "frame_rate": 10.0,
    }
    assert summary["model"]["name"] == "nano" and len(summary["model"]["sha256"]) == 64
    assert summary["runtime"].endswith("fp32")
    assert summary["settings"]["window"] == summary["window"] == 8
    assert summary["frames"] == {"read": COUNT, "answered": COUNT, "dropped": 0, "failed": 0}
    ball, sphere = summary["commands"]
    assert ball == {
        "id": "command",
        "text": BALL,
        "at": 0.0,
        "until": pytest.approx(1.2),
        "objects": [2],
    }
    assert (sphere["text"], sphere["until"]) == (SPHERE, pytest.approx(2.3))
    assert (summary["problems"], summary["delay"]) == ([], None)
    assert summary["clock"] == {"kind": "every frame"}


def test_scores_come_from_the_truth_on_the_topic(first: RunFolder) -> None:
    from referdino_core.evaluation.region_similarity import region_similarity

    labels = scene_labels(COUNT)
    regions: dict[str, list[float]] = {BALL: [], SPHERE: []}
    for frame in first.frames():
        (record,) = frame["targets"]
        target = dict(MEANINGS)[record["command"]][0]
        mask = run_lengths.decode(record["mask"]["counts"], *record["mask"]["size"])
        truth = labels[frame["index"]] == target
        assert record["truth"]["present"] == (truth.sum() >= 15)
        if record["truth"]["present"]:
            assert record["truth"]["region"] == region_similarity(mask, truth)
            regions[record["command"]].append(record["truth"]["region"])
    for scores in first.summary["scores"]["commands"]:
        mean = np.mean(regions[scores["sentence"]])
        assert scores["region"]["mean"] == pytest.approx(mean)
    assert first.summary["scores"]["all"]["right"] == 1.0
    assert first.summary["truth"] == f"label images on {TRUTH_TOPIC}"


def test_truth_in_sixteen_bits_and_padded_rows_is_the_same(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel, tmp_path: Path
) -> None:
    samples = [*scene(4), text(BALL, -PERIOD)]
    for place, labels in enumerate(scene_labels(4)):
        padded = np.full((240, 330), 77, np.uint16)
        padded[:, :320] = labels
        sample = image(padded, place * PERIOD, "mono16", TRUTH_TOPIC)
        sample.message.width = 320
        samples.append(sample)
    wide = replace(job, source=write_bag(tmp_path / "bag", samples), out=tmp_path / "run")

    frames = RunFolder(replay(wide, loaded)).frames()

    for frame, other in zip(frames, first.frames(), strict=False):
        assert frame["targets"][0]["truth"] == other["targets"][0]["truth"] is not None


def test_as_live_drops_frames_and_delays_answers(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    clock = AsLive((250_000_000,), "250ms")
    run = RunFolder(replay(replace(job, out=tmp_path / "live", clock=clock), loaded))
    frames = list(run.frames())

    # Taken at 0, 0.25, 0.5 … s, each time the newest that waits.
    answered = [frame["index"] for frame in frames if not frame["dropped"]]
    assert answered == [0, 2, 4, 7, 9, 12, 14, 17, 19, 22, 23]
    assert [frame["delay"] for frame in frames if not frame["dropped"]][:3] == [0.25, 0.3, 0.35]
    assert all(frame["delay"] is None for frame in frames if frame["dropped"])
    objects = [(t, one) for name, t, one in messages_of(run.results) if name.endswith("objects")]
    assert [t - START for t, _ in objects][:3] == [250_000_000, 500_000_000, 750_000_000]
    assert [one.header.stamp.nanosec for _, one in objects][:3] == [0, 200_000_000, 400_000_000]
    # Until the first answer is there the robot believes nothing, then the newest that is there.
    assert frames[1]["targets"][0]["state"] == "searching"
    assert frames[3]["targets"][0]["mask"] == frames[0]["targets"][0]["mask"]
    assert frames[6]["targets"][0]["mask"] == frames[2]["targets"][0]["mask"]
    summary = run.summary
    assert summary["frames"] == {"read": 24, "answered": 11, "dropped": 13, "failed": 0}
    assert summary["clock"]["kind"] == "as live" and summary["delay"]["worst"] == pytest.approx(
        0.45
    )
    ball = summary["scores"]["commands"][0]
    assert ball["time_to_acquire"] == 0.25
    assert (
        ball["frames_dropped"]
        + sum(scores["frames_dropped"] for scores in summary["scores"]["commands"][1:])
        == 13
    )


def test_a_run_as_live_that_was_stopped_goes_on_and_gives_equal_bytes(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    live = replace(job, clock=AsLive((170_000_000, 90_000_000), "a table"), out=tmp_path / "whole")
    replay(live, loaded)
    stopped = replace(live, out=tmp_path / "stopped")
    done: list[int] = []
    watch = RunWatch(on_frame=done.append, stop_requested=lambda: done[-1] == 11)
    with pytest.raises(RunInterrupted):
        replay(stopped, loaded, watch)

    replay(stopped, loaded)

    assert_equal_results(live.out, stopped.out)


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
    assert run.summary["frames"] == {"read": 5, "answered": 3, "dropped": 0, "failed": 2}
    (problem,) = run.summary["problems"]
    assert problem.startswith("2 frames could not be answered; the first: frame 0:")
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
    (problem,) = run.summary["problems"]
    assert "breaks off at byte" in problem


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


def test_the_definitions_that_come_along_are_the_packages_own() -> None:
    repository = Path(__file__).resolve().parent.parent
    originals = sorted((repository / "msg").glob("*.msg"))
    assert originals
    for original in originals:
        copy = DEFINITIONS / "referdino" / "msg" / original.name
        assert copy.read_bytes() == original.read_bytes()


def test_ros_reads_the_results_as_its_own_messages(first: RunFolder) -> None:
    """The bytes in the bag are what rclpy makes of the same message."""
    from rclpy.serialization import deserialize_message, serialize_message
    from referdino.msg import ReferredObjectArray

    with AnyReader([first.results]) as reader:
        (connection,) = (one for one in reader.connections if one.topic == "/referdino/objects")
        _, _, data = next(reader.messages([connection]))
    message = deserialize_message(bytes(data), ReferredObjectArray)

    record = next(first.frames())["targets"][0]
    assert message.objects[0].mask.counts == record["mask"]["counts"]
    assert message.header.stamp.sec == START // 10**9
    assert deserialize_message(serialize_message(message), ReferredObjectArray) == message


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
