# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Runs in trouble: places that are taken, ground truth with gaps, failing frames, full disks."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_samples import PERIOD, START, TRUTH_TOPIC, image, scene, scene_labels, write_bag
from replay_cases import BALL, COUNT, assert_equal_results, cancelling_after

from referdino_core.errors import Cancelled, ReferDINOError, SourceError
from referdino_core.files import OutputError, temporary_path
from referdino_core.replay import run as run_module
from referdino_core.replay import unfinished_run
from referdino_core.replay.directory_lock import DirectoryLock
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.replay.topic_ground_truth import TopicGroundTruth
from referdino_core.session.model_choice import LoadedModel

pytestmark = pytest.mark.slow

pytest_plugins = ("replay_fixtures",)


def test_two_runs_do_not_share_a_folder(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with DirectoryLock(out):
        with pytest.raises(SourceError, match="Another referdino is at work in"):
            replay(replace(job, out=out), loaded)
        assert [path.name for path in out.iterdir()] == [".lock"]
    assert not out.exists()  # it was made for nothing


@pytest.mark.parametrize(
    ("place", "said"), [(".", "source itself"), ("a/b", "lies in"), ("..", "holds")]
)
def test_results_do_not_get_into_the_source(
    job: ReplayJob, loaded: LoadedModel, place: str, said: str
) -> None:
    before = sorted(job.source.iterdir())
    with pytest.raises(SourceError, match=said):
        replay(replace(job, out=job.source / place), loaded)
    assert sorted(job.source.iterdir()) == before


def test_a_file_is_no_folder_for_results(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("precious")
    for out in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(OutputError):
            replay(replace(job, out=out), loaded)
    assert (tmp_path / "run").read_text() == "precious"


def looped(lost: tuple[int, ...] = ()) -> list[Any]:
    """Ten frames, then five again with stamps that jumped back, and their ground truth."""
    samples = []
    for place in range(15):
        for source, topic in zip(scene(10, with_truth=True)[place % 10 :: 10], "it", strict=True):
            if topic == "i" or place not in lost:
                samples.append(replace(source, time=place * PERIOD))
    return samples


def test_ground_truth_continues_after_stamps_jumped_back(tmp_path: Path) -> None:
    stray = image(scene_labels(10)[9], 9 * PERIOD + 1000, "mono8", TRUTH_TOPIC)
    bag = write_bag(tmp_path / "bag", [*looped(), stray])
    with TopicGroundTruth(bag, TRUTH_TOPIC) as truth:
        for place in range(15):
            found = truth.for_image(place, START + place % 10 * PERIOD, (240, 320))
            assert found is not None
            labels = scene_labels(10)[place % 10]
            assert all(np.array_equal(found.masks[n], labels == n) for n in truth.objects)
    (problem,) = truth.problems
    assert problem.startswith("a label image has the stamp of no frame: 1700000000.900001")


def test_frames_without_truth_and_resets_are_reported(loaded: LoadedModel, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", looped(lost=(3, 4)))
    job = ReplayJob(
        bag, tmp_path / "run", (BALL,), topic="/camera/image_raw",
        truth=f"topic:{TRUTH_TOPIC}", meanings=((f" {BALL} ", (2,)), ("the bal", (3,))),
    )  # fmt: skip
    whole = RunFolder(replay(job, loaded))

    problems = "\n".join(whole.summary["problems"])
    assert "of 15 frames have no ground truth; the first: frame" in problems
    assert "Memories were reset 1 time; the first: stamps jumped back by 0.90 s." in problems
    assert "--means 'the bal' is the sentence of no command." in problems
    assert whole.summary["scores"]["commands"][0]["frames_with_truth"] == 13
    stopped = replace(job, out=tmp_path / "stopped")
    with pytest.raises(Cancelled):
        replay(stopped, loaded, cancelling_after(15))
    assert_equal_results(whole.path, replay(stopped, loaded))


def test_truth_that_is_a_image_is_called_one(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", scene(1))
    with pytest.raises(SourceError, match=r"holds no label images; .*encoding 'rgb8' is none of"):
        TopicGroundTruth(bag, "/camera/image_raw")


def test_a_frame_that_fails_does_not_leave_the_scores(loaded: LoadedModel, tmp_path: Path) -> None:
    samples = scene(8, with_truth=True)
    for place in (0, 5, 6):
        samples[place].message.encoding = "64FC7"
    job = ReplayJob(
        write_bag(tmp_path / "bag", samples), tmp_path / "run", (BALL,),
        topic="/camera/image_raw", truth=f"topic:{TRUTH_TOPIC}", meanings=((BALL, (2,)),),
    )  # fmt: skip
    run = RunFolder(replay(job, loaded))

    (scores,) = run.summary["scores"]["commands"]
    assert (scores["frames"], scores["frames_with_truth"]) == (8, 8)
    first, *_, latest, failed, again, _ = (frame["targets"][0] for frame in run.frames())
    assert (first["state"], first["truth"]["region"]) == ("searching", 0)
    assert failed["mask"] == again["mask"] == latest["mask"]
    assert failed["truth"]["region"] > 0.4
    stopped = replace(job, out=tmp_path / "stopped")
    with pytest.raises(Cancelled):
        replay(stopped, loaded, cancelling_after(6))
    assert_equal_results(run.path, replay(stopped, loaded))


def test_after_a_full_disk_the_same_command_resumes(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = replace(job, out=tmp_path / "full")
    monkeypatch.setattr(run_module, "FRAMES_BETWEEN_SNAPSHOTS", 4)
    summary = temporary_path(full.out / "summary.json")
    write_text = Path.write_text

    def refuse(path: Path, *values: Any, **settings: Any) -> int:
        if path == summary:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *values, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", refuse)
        with pytest.raises(OutputError, match=r"No space left.*Kept so far: 24 frames; the same"):
            replay(full, loaded)
    monkeypatch.setattr(loaded.session, "step", None)  # nothing is computed again

    replay(full, loaded)

    monkeypatch.undo()
    assert_equal_results(replay(replace(job, out=tmp_path / "whole"), loaded), full.out)


def test_a_damaged_journal_names_the_way_out(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    stopped = replace(job, out=tmp_path / "run")
    with pytest.raises(Cancelled):
        replay(stopped, loaded, cancelling_after(6))
    journal = temporary_path(stopped.out / "frames.jsonl")
    data = journal.read_bytes()
    for damaged in (
        b"x" + data[1:],
        data.replace(b'"counts":"', b'"counts":"~'),
        b"\n".join([b"{}"] * len(data)),
    ):
        journal.write_bytes(damaged)
        with pytest.raises(SourceError, match=r"journal .* is damaged.*--restart"):
            replay(stopped, loaded)
    assert RunFolder(replay(replace(stopped, restart=True), loaded)).summary


def test_a_damaged_snapshot_is_reported(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped = replace(job, out=tmp_path / "run")
    with pytest.raises(Cancelled):
        replay(stopped, loaded, cancelling_after(6))
    (stopped.out / unfinished_run.SNAPSHOT_NAME).write_bytes(b"rubbish")

    replay(stopped, loaded)

    assert "is damaged; the run restarts" in caplog.text


def test_a_complete_run_knows_its_lines_and_its_successor(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    run = RunFolder(replay(replace(job, out=tmp_path / "run"), loaded))
    assert not run.is_being_replaced
    with pytest.raises(Cancelled):
        replay(replace(job, out=run.path), loaded, cancelling_after(2))
    assert RunFolder(run.path).is_being_replaced
    lines = run.path / "frames.jsonl"
    lines.write_bytes(lines.read_bytes() * 2)
    with pytest.raises(SourceError, match=f"has {2 * COUNT} lines for {COUNT} frames"):
        list(run.frames())


@pytest.mark.parametrize("rate", [-1.0, float("nan")])
def test_an_impossible_frame_rate_is_refused_for_bags_too(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path, rate: float
) -> None:
    with pytest.raises(SourceError, match="frame rate of"):
        replay(replace(job, out=tmp_path / "run", frame_rate=rate), loaded)


@pytest.mark.parametrize("sentence", ["", "  ", "!!", "word " * 400, "a" * 20_000])
def test_a_sentence_that_cannot_be_used_is_refused_at_the_start(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path, sentence: str
) -> None:
    with pytest.raises(ReferDINOError) as caught:
        replay(
            replace(job, out=tmp_path / "run", sentences=(sentence,), meanings=(), truth=None),
            loaded,
        )
    assert len(str(caught.value)) < 300
    assert not (tmp_path / "run").exists()
