# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whole runs: equal bytes, what is in the results, scores, both clocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_samples import (
    COMMAND_TOPIC,
    IMAGE_TOPIC,
    PERIOD,
    START,
    TRUTH_TOPIC,
    image,
    scene,
    scene_images,
    scene_labels,
    text,
    write_bag,
)
from replay_cases import (
    BALL,
    COUNT,
    DETERMINISTIC,
    MEANINGS,
    SPHERE,
    assert_equal_results,
    messages_of,
)
from repository import REPOSITORY
from rosbags.highlevel import AnyReader

import referdino_core as rd
from referdino_core.evaluation import region_similarity
from referdino_core.messages import run_lengths
from referdino_core.messages.compressed_images import compressed_image_to_rgb
from referdino_core.replay.clocks import RealTimeClock
from referdino_core.replay.message_types import DEFINITIONS
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.session.model_choice import LoadedModel

pytestmark = pytest.mark.slow

pytest_plugins = ("replay_fixtures",)


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


def test_results_lie_beside_the_inputs_with_untouched_headers(
    job: ReplayJob, first: RunFolder
) -> None:
    found = messages_of(first.results)
    recorded = messages_of(job.source)

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
    assert summary["frames"] == {
        "read": COUNT,
        "answered": COUNT,
        "dropped": 0,
        "late": 0,
        "failed": 0,
    }
    ball, sphere = summary["commands"]
    assert ball == {
        "id": "command",
        "text": BALL,
        "select": None,
        "at": 0.0,
        "until": pytest.approx(1.2),
        "objects": [2],
    }
    assert (sphere["text"], sphere["until"]) == (SPHERE, pytest.approx(2.3))
    assert (summary["problems"], summary["delay"]) == ([], None)
    assert summary["clock"] == {"kind": "every frame"}


def test_scores_come_from_the_truth_on_the_topic(first: RunFolder) -> None:
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


def test_as_live_drops_frames_and_delays_results(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    clock = RealTimeClock((250_000_000,), "250ms")
    run = RunFolder(replay(replace(job, out=tmp_path / "live", clock=clock), loaded))
    frames = list(run.frames())

    # Taken at 0, 0.25, 0.5 … s, each time the newest that waits.
    processed = [frame["index"] for frame in frames if not frame["dropped"]]
    assert processed == [0, 2, 4, 7, 9, 12, 14, 17, 19, 22, 23]
    assert [frame["delay"] for frame in frames if not frame["dropped"]][:3] == [0.25, 0.3, 0.35]
    assert all(frame["delay"] is None for frame in frames if frame["dropped"])
    objects = [(t, one) for name, t, one in messages_of(run.results) if name.endswith("objects")]
    assert [t - START for t, _ in objects][:3] == [250_000_000, 500_000_000, 750_000_000]
    assert [one.header.stamp.nanosec for _, one in objects][:3] == [0, 200_000_000, 400_000_000]
    # Until the first result is there no object is known; from then on the latest result counts.
    assert frames[1]["targets"][0]["state"] == "searching"
    assert frames[3]["targets"][0]["mask"] == frames[0]["targets"][0]["mask"]
    assert frames[6]["targets"][0]["mask"] == frames[2]["targets"][0]["mask"]
    summary = run.summary
    assert summary["frames"] == {"read": 24, "answered": 11, "dropped": 13, "late": 0, "failed": 0}
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


def mask_of(target: Mapping[str, Any]) -> np.ndarray:
    return run_lengths.decode(target["mask"]["counts"], *target["mask"]["size"])


def test_streaming_scores_every_frame_with_the_latest_available_result(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    live = replace(job, out=tmp_path / "live", clock=RealTimeClock((150_000_000,), "150ms"))
    run = RunFolder(replay(live, loaded))
    frames, labels = list(run.frames()), scene_labels(COUNT)
    ball, _ = run.summary["commands"]
    regions: dict[str, list[float]] = {BALL: [], SPHERE: []}
    lost = dict.fromkeys(regions, 0)
    for place, meant in enumerate(labels):
        now = place * PERIOD
        text, number = (BALL, 2) if place * PERIOD / 1e9 < ball["until"] else (SPHERE, 5)
        prediction = np.zeros(meant.shape, bool)
        for frame in frames:
            delay = frame["delay"]
            if delay is not None and frame["index"] * PERIOD + round(delay * 1e9) <= now:
                (target,) = frame["targets"]
                prediction = (
                    mask_of(target) if target["command"] == text else np.zeros_like(prediction)
                )
        truth = meant == number
        if truth.sum() >= 15:
            regions[text].append(region_similarity(prediction, truth))
            lost[text] += not prediction.any()
    streaming = run.summary["scores"]["streaming"]
    for scores in streaming["commands"]:
        text = scores["sentence"]
        assert scores["region"]["mean"] == pytest.approx(np.mean(regions[text]))
        assert scores["frames_lost"] == lost[text] > 0
    own = run.summary["scores"]["all"]["region_and_boundary"]
    assert 0 < streaming["all"]["region_and_boundary"] < own


def test_without_delays_there_is_no_streaming(first: RunFolder) -> None:
    assert first.summary["scores"]["streaming"] is None


def test_a_command_that_is_given_while_images_are_dropped_is_judged_from_then_on(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    samples = [*scene(6, with_truth=True), text(BALL, -PERIOD), text(SPHERE, 5 * PERIOD // 2)]
    live = replace(
        job, source=write_bag(tmp_path / "bag", samples), out=tmp_path / "run",
        clock=RealTimeClock((450_000_000,), "450ms"),
    )  # fmt: skip
    run = RunFolder(replay(live, loaded))

    frames = list(run.frames())
    assert [frame["dropped"] for frame in frames] == [False, True, True, True, False, False]
    assert [frame["targets"][0]["command"] for frame in frames] == [BALL] * 3 + [SPHERE] * 3
    assert run.summary["commands"][1]["at"] == 0.25
    assert [one["frames"] for one in run.summary["scores"]["commands"]] == [3, 3]
    assert [one["frames"] for one in run.summary["scores"]["streaming"]["commands"]] == [3, 3]


def test_the_definitions_that_come_along_are_the_packages_own() -> None:
    originals = sorted((REPOSITORY / "msg").glob("*.msg"))
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
