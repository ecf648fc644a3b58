# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Replays of recordings whose stamps jitter, and of a model that is much slower than the camera."""

from __future__ import annotations

from pathlib import Path

import pytest
from bag_samples import PERIOD, header, scene, scene_images, write_bag
from bag_samples import image as image_sample
from replay_cases import BALL, messages_of

from referdino_core.replay.clocks import RealTimeClock
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.session.model_choice import LoadedModel

pytest_plugins = ("replay_fixtures",)

MILLISECOND = 1_000_000
JUDGED, RESET, LATE = 0, 1, 2
"""Constants of referdino/msg/ReferredObjectArray."""


def with_jitter(folder: Path, every: int) -> ReplayJob:
    """A job on a bag in which some images are stamped 1 ms before their predecessor."""
    samples = scene(20)
    for number, sample in enumerate(samples):
        if number % every == every - 1:
            sample.message.header = header((number - 1) * PERIOD - MILLISECOND)
    bag = write_bag(folder / "bag", samples)
    return ReplayJob(bag, folder / "run", sentences=(BALL,))


@pytest.mark.parametrize("every", [2, 10])
def test_images_stamped_before_their_predecessor_cost_themselves_alone(
    loaded: LoadedModel, tmp_path: Path, every: int
) -> None:
    run = RunFolder(replay(with_jitter(tmp_path, every), loaded))

    late = 20 // every
    assert run.summary["frames"] == {
        "read": 20,
        "answered": 20 - late,
        "dropped": 0,
        "late": late,
        "failed": 0,
    }
    (problem,) = run.summary["problems"]
    assert f"{late} frames came after a newer one" in problem
    frames = list(run.frames())
    assert {target["track_id"] for frame in frames for target in frame["targets"]} == {1}
    late = frames[every - 1]
    assert late["judgement"] == "late" and "predecessor" in late["reason"]
    assert late["targets"][0]["mask"] == frames[every - 2]["targets"][0]["mask"]
    messages = [one for name, _, one in messages_of(run.results) if name.endswith("objects")]
    judgements = [one.judgement for one in messages]
    assert judgements == [LATE if n % every == every - 1 else JUDGED for n in range(20)]
    assert messages[every - 1].objects[0].track_id == 1
    assert messages[every - 1].objects[0].box.width == 0


def test_results_far_apart_before_a_steady_camera_reset_nothing(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    image = scene_images(1)[0]
    samples = [image_sample(image, number * PERIOD) for number in range(180)]
    slow = ReplayJob(
        write_bag(tmp_path / "bag", samples),
        tmp_path / "run",
        sentences=(BALL,),
        clock=RealTimeClock((5_600_000_000,), "5.6s"),
    )

    run = RunFolder(replay(slow, loaded))

    assert not [line for line in run.summary["problems"] if "reset" in line]
    processed = [frame for frame in run.frames() if not frame["dropped"]]
    assert len(processed) >= 4
    assert {target["track_id"] for frame in processed for target in frame["targets"]} == {1}
    messages = [one for name, _, one in messages_of(run.results) if name.endswith("objects")]
    assert [one.dropped for one in messages][1:3] == [54, 55]


def test_a_break_in_the_recording_begins_another_stream(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    samples = scene(6)
    for number, sample in enumerate(samples):
        sample.message.header = header(number * PERIOD + (60_000_000_000 if number >= 3 else 0))
    bag = write_bag(tmp_path / "bag", samples)

    run = RunFolder(replay(ReplayJob(bag, tmp_path / "run", sentences=(BALL,)), loaded))

    messages = [one for name, _, one in messages_of(run.results) if name.endswith("objects")]
    assert [one.judgement for one in messages] == [JUDGED] * 3 + [RESET] + [JUDGED] * 2
    assert [one.stream for one in messages] == [1] * 3 + [2] * 3
