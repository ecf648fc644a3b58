# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whole-clip inference in a replay: results, resumption, images that cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_samples import scene_images
from replay_cases import BALL, assert_equal_results, cancelling_after

from referdino_core.errors import Cancelled, SourceError
from referdino_core.evaluation.benchmarks import WHOLE_CLIP
from referdino_core.evaluation.clip_readers import ReferDINOClips
from referdino_core.evaluation.whole_clip import read_clip
from referdino_core.messages import run_lengths
from referdino_core.replay.clocks import RealTimeClock
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.replay.whole_clip import LoadedWholeClip, WholeClip, load_for_replay
from referdino_core.session.model_choice import LoadedModel, ModelChoice

pytest_plugins = ("replay_fixtures",)


@pytest.fixture
def whole(loaded: LoadedModel) -> LoadedWholeClip:
    return LoadedWholeClip(WholeClip(ReferDINOClips(loaded)))


@pytest.fixture
def job(tmp_path: Path) -> ReplayJob:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(scene_images(6)):
        cv2.imwrite(str(folder / f"{index:03d}.png"), image[:, :, ::-1])
    return ReplayJob(folder, tmp_path / "run", sentences=(BALL,), inference=WHOLE_CLIP)


def frames_of(run: RunFolder) -> list[dict[str, Any]]:
    lines = (run.path / "frames.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_results_are_those_of_whole_clip_inference(
    job: ReplayJob, whole: LoadedWholeClip, loaded: LoadedModel
) -> None:
    frames = frames_of(RunFolder(replay(job, whole)))
    images, stamps = scene_images(6), [0.04 * index for index in range(6)]
    session = loaded.session
    reading = read_clip(session.model, session.tokenizer, BALL, images, stamps)
    (slot,) = reading.best_slots()
    masks = [mask[0] for mask in reading.masks([slot])]
    assert any(mask.any() for mask in masks)
    for index, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        (target,) = frame["targets"]
        assert np.array_equal(run_lengths.decode(target["mask"]["counts"], *mask.shape), mask)
        assert target["frame_score"] == pytest.approx(float(reading.scores[index, slot]), abs=1e-4)
        assert target["state"] == ("tracking" if mask.any() else "occluded")


def test_a_stopped_run_resumes_to_the_same_bytes(job: ReplayJob, whole: LoadedWholeClip) -> None:
    expected = replay(job, whole)
    stopped = replace(job, out=job.out.with_name("stopped"))
    with pytest.raises(Cancelled, match="3 frames"):
        replay(stopped, whole, cancelling_after(3))
    assert_equal_results(expected, replay(stopped, whole))


def test_an_image_that_cannot_be_used_is_left_out_and_reported(
    job: ReplayJob, whole: LoadedWholeClip
) -> None:
    (job.source / "002.png").write_bytes(b"no image")
    cv2.imwrite(str(job.source / "004.png"), np.zeros((60, 80, 3), np.uint8))
    run = RunFolder(replay(job, whole))
    errors = [frame["error"] for frame in frames_of(run)]
    assert [error is None for error in errors] == [True, True, False, True, False, True]
    assert errors[4] == "The image is 80x60, not 320x240 like the first one."
    assert run.summary["frames"]["failed"] == 2


def test_a_recording_without_a_readable_image_is_refused(
    job: ReplayJob, whole: LoadedWholeClip
) -> None:
    for path in job.source.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(SourceError, match="None of the images"):
        replay(job, whole)


def test_commands_and_clocks_that_need_a_stream_are_refused(
    job: ReplayJob, whole: LoadedWholeClip, tmp_path: Path
) -> None:
    commands = tmp_path / "commands.yaml"
    commands.write_text('[{at: 0, text: "a ball"}, {at: 0.1, text: ""}]')
    with pytest.raises(SourceError, match="active from the first frame"):
        replay(replace(job, sentences=(), command_file=commands), whole)
    with pytest.raises(SourceError, match="not causal"):
        replay(replace(job, clock=RealTimeClock((40_000_000,), "40ms")), whole)
    commands.write_text('[{at: 0, text: "a ball", select: all}]')
    run = RunFolder(replay(replace(job, sentences=(), command_file=commands), whole))
    assert "selects one object" in " ".join(run.summary["problems"])


def test_the_model_is_loaded_for_the_inference_of_the_job() -> None:
    assert isinstance(load_for_replay(ModelChoice(), "whole-clip"), LoadedWholeClip)
    assert isinstance(load_for_replay(ModelChoice(), "stream"), LoadedModel)
