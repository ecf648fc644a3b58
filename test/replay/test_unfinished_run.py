# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that were killed or stopped go on, and end in the same bytes."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bag_samples import IMAGE_TOPIC, scene_images, scene_labels
from label_files import write_labels
from replay_cases import (
    BALL,
    COUNT,
    SPHERE,
    assert_equal_results,
    cancelling_after,
)

from referdino_core.errors import Cancelled, SourceError
from referdino_core.files import temporary_path
from referdino_core.media.writers import write_image
from referdino_core.replay import run_summary
from referdino_core.replay.clocks import RealTimeClock
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.replay.unfinished_run import SNAPSHOT_NAME
from referdino_core.session.model_choice import LoadedModel

pytestmark = pytest.mark.slow

pytest_plugins = ("replay_fixtures",)

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


def count_steps(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every frame that is computed."""
    stepped: list[int] = []
    step = loaded.session.step
    monkeypatch.setattr(
        loaded.session, "step", lambda *values: (stepped.append(1), step(*values))[1]
    )
    return stepped


def test_a_run_that_was_killed_twice_resumes_and_gives_equal_bytes(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = replace(job, out=first.path.with_name("killed"))
    killed_run(killed, 4)
    with pytest.raises(SourceError, match="holds an unfinished run"):
        RunFolder(killed.out)
    killed_run(killed, 12)
    stepped = count_steps(loaded, monkeypatch)

    replay(killed, loaded)

    assert 0 < len(stepped) <= COUNT - 12  # what was done was not computed again
    assert_equal_results(first.path, killed.out)
    assert len(list(RunFolder(killed.out).timing())) == COUNT
    assert not [path for path in killed.out.iterdir() if path.name.startswith(".")]


def test_a_run_that_was_stopped_resumes_and_gives_equal_bytes(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel
) -> None:
    stopped = replace(job, out=first.path.with_name("stopped"))
    monitor = cancelling_after(9)
    with pytest.raises(Cancelled, match="after 9 frames"):
        replay(stopped, loaded, monitor)
    assert sorted(path.name for path in stopped.out.iterdir()) == [
        ".frames.partial.jsonl",
        SNAPSHOT_NAME,
        ".timing.partial.jsonl",
    ]

    other = replace(stopped, topic=IMAGE_TOPIC, clock=RealTimeClock((1,), ""))
    with pytest.raises(SourceError, match=r"differs in: clock, topic\..*--restart"):
        replay(other, loaded)
    replay(stopped, loaded)

    assert_equal_results(first.path, stopped.out)


@pytest.fixture
def scored(loaded: LoadedModel, tmp_path: Path) -> ReplayJob:
    """A job with label images in a folder, which was stopped after nine frames."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    for place, (image, truth) in enumerate(zip(scene_images(12), scene_labels(12), strict=True)):
        images.mkdir(exist_ok=True)
        write_image(images / f"{place:05}.png", image)
        write_labels(labels / f"{place:05}.png", truth)
    job = ReplayJob(images, tmp_path / "run", (BALL,), truth=str(labels), meanings=((BALL, (2,)),))
    monitor = cancelling_after(9)
    with pytest.raises(Cancelled):
        replay(job, loaded, monitor)
    return job


def region(folder: Path) -> float:
    return RunFolder(folder).summary["scores"]["all"]["region"]


def test_a_run_whose_truth_changed_meanwhile_begins_anew(
    scored: ReplayJob, loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    right = region(replay(replace(scored, out=scored.out.with_name("right")), loaded))
    for place, truth in enumerate(scene_labels(12)):
        moved = 2 * (np.roll(truth, 90, axis=1) == 2)
        write_labels(scored.out.with_name("labels") / f"{place:05}.png", moved)

    replay(scored, loaded)

    assert "restarts, since this changed meanwhile: truth files." in caplog.text
    fresh = replay(replace(scored, out=scored.out.with_name("fresh")), loaded)
    assert region(scored.out) < 0.2 < right
    assert_equal_results(fresh, scored.out)


@pytest.mark.parametrize("part", ["commit", "_digest_of_code"])
def test_a_run_whose_code_changed_meanwhile_begins_anew(
    scored: ReplayJob,
    loaded: LoadedModel,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    monkeypatch.setattr(run_summary, part, lambda: "another")
    stepped = count_steps(loaded, monkeypatch)

    replay(scored, loaded)

    assert "restarts, since this changed meanwhile: code." in caplog.text
    assert len(stepped) == 12


def test_a_run_whose_images_changed_meanwhile_begins_anew(
    scored: ReplayJob, loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(scored.source / "00011.png", scene_images(1)[0])
    replay(scored, loaded)
    assert "restarts, since this changed meanwhile: source files." in caplog.text


def test_nothing_begins_anew_where_nothing_changed(
    scored: ReplayJob, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = count_steps(loaded, monkeypatch)
    replay(scored, loaded)
    assert len(stepped) == 12 - 9


def test_restart_gives_an_unfinished_run_up(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel
) -> None:
    stopped = replace(job, out=first.path.with_name("restarted"))
    with pytest.raises(Cancelled):
        replay(stopped, loaded, cancelling_after(1))

    other = replace(stopped, sentences=(SPHERE,), restart=True)
    summary = RunFolder(replay(other, loaded)).summary

    assert [one["text"] for one in summary["commands"]] == [SPHERE]


def test_a_snapshot_without_its_journal_is_ignored(
    job: ReplayJob, first: RunFolder, loaded: LoadedModel
) -> None:
    stopped = replace(job, out=first.path.with_name("journal"))
    monitor = cancelling_after(9)
    with pytest.raises(Cancelled):
        replay(stopped, loaded, monitor)
    journal = temporary_path(stopped.out / "frames.jsonl")
    journal.write_bytes(journal.read_bytes()[:-10])

    replay(stopped, loaded)

    assert_equal_results(first.path, stopped.out)


def test_a_run_as_live_that_was_stopped_resumes_and_gives_equal_bytes(
    job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    live = replace(
        job, clock=RealTimeClock((170_000_000, 90_000_000), "a table"), out=tmp_path / "whole"
    )
    replay(live, loaded)
    stopped = replace(live, out=tmp_path / "stopped")
    monitor = cancelling_after(11)
    with pytest.raises(Cancelled):
        replay(stopped, loaded, monitor)

    replay(stopped, loaded)

    assert_equal_results(live.out, stopped.out)
