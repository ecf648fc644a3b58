# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Many recordings through real workers of Ray, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from batch_samples import BALL, assert_equal_batches, write_long_recording

from referdino_core.batch.batch import (
    Batch,
    BatchProgress,
    replay_batch,
    replay_in_process,
)
from referdino_core.batch.recordings import find_recordings
from referdino_core.errors import RuntimeUnavailable
from referdino_core.files import temporary_path
from referdino_core.progress import ProgressMonitor
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run_folder import FRAMES_NAME, TIMING_NAME
from referdino_core.replay.unfinished_run import FRAMES_BETWEEN_SNAPSHOTS, SNAPSHOT_NAME
from referdino_core.session.model_choice import ModelChoice

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")
LONG = FRAMES_BETWEEN_SNAPSHOTS + 40


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "recordings"
    write_long_recording(folder / "a" / "long", LONG)
    write_long_recording(folder / "b" / "short", 6)
    write_long_recording(folder / "c", 4)
    (folder / "broken.mcap").write_bytes(b"no bag")
    return folder


@pytest.fixture(scope="module")
def ray_running() -> Iterator[None]:
    from referdino_core.batch.ray_workers import ray_running

    with ray_running(None, 2):
        yield


@pytest.fixture(scope="module")
def alone(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    out = tmp_path_factory.mktemp("alone")
    common = ReplayJob(Path(), Path(), sentences=(BALL,))
    batch = Batch(tuple(find_recordings([recordings], out)), common, out, with_report=False)
    replay_batch(batch, replay_in_process)
    return batch


def writer_of(path: Path) -> int | None:
    """The process that has a file open."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            try:
                if any(one.readlink() == path for one in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:  # it has ended meanwhile
                continue
    return None


def kill_after_a_snapshot(run: Path, kept: list[list[str]]) -> None:
    """Kill the worker of a run after a snapshot; keeps the lines of what took how long."""
    deadline = time.monotonic() + 120
    while not (run / SNAPSHOT_NAME).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    worker = writer_of(temporary_path(run / FRAMES_NAME).resolve())
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    kept.append(
        temporary_path(run / TIMING_NAME).read_text().splitlines()[:FRAMES_BETWEEN_SNAPSHOTS]
    )


def test_a_worker_that_is_killed_loses_nothing(
    alone: Batch, ray_running: None, tmp_path: Path
) -> None:
    from referdino_core.batch.ray_workers import RayWorkers

    batch = replace(alone, out=tmp_path / "killed")
    kept: list[list[str]] = []
    run = batch.out / "a_long"
    killer = threading.Thread(target=kill_after_a_snapshot, args=(run, kept))
    killer.start()
    seen: list[BatchProgress] = []

    summary = replay_batch(batch, RayWorkers(2), ProgressMonitor(seen.append))

    killer.join()
    assert_equal_batches(alone.out, batch.out)
    assert [one["name"] for one in summary["failed"]] == ["broken"]
    # What was done before the kill was not computed again: it took as long as it did then.
    (before,) = kept
    assert len(before) == FRAMES_BETWEEN_SNAPSHOTS
    assert (run / TIMING_NAME).read_text().splitlines()[: len(before)] == before
    assert seen[-1].fraction == 1 and seen[-1].finished == 4
    # A batch that was begun with two workers is taken up by one.
    again: list[BatchProgress] = []
    replay_batch(batch, replay_in_process, ProgressMonitor(again.append))
    assert again[-1].frames == 0


def test_workers_that_cannot_load_the_model_say_so_once(
    alone: Batch, ray_running: None, tmp_path: Path
) -> None:
    from referdino_core.batch.ray_workers import RayWorkers

    missing = ModelChoice(checkpoint=tmp_path / "missing.pth")
    batch = replace(alone, common=replace(alone.common, model=missing), out=tmp_path / "unloadable")

    with pytest.raises(RuntimeUnavailable, match=r"missing\.pth"):
        replay_batch(batch, RayWorkers(1))

    assert not list(batch.out.glob("*/"))


def test_a_cluster_that_is_not_there_is_reported_at_once(alone: Batch, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "referdino_core.cli", "replay", str(alone.recordings[0].path)]
    command += ["--list", "/dev/null", "--command", BALL, "--out", str(tmp_path / "runs")]

    outcome = subprocess.run(
        [*command, "--ray-address", "127.0.0.1:9"], capture_output=True, text=True, timeout=120
    )

    assert outcome.returncode == 1
    assert "error: There is no Ray cluster at 127.0.0.1:9: " in outcome.stderr


def test_ctrl_c_ends_all_workers_in_order_and_quietly(alone: Batch, tmp_path: Path) -> None:
    sources = [str(one.path) for one in alone.recordings if one.name != "broken"]
    out = tmp_path / "stopped"
    command = [sys.executable, "-m", "referdino_core.cli", "replay", *sources]
    command += ["--command", BALL, "--no-report", "--workers", "2", "--out", str(out)]
    program = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    journal = temporary_path(out / "long" / FRAMES_NAME)
    deadline = time.monotonic() + 120
    while not journal.exists() or not journal.stat().st_size:
        assert program.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    worker = writer_of(journal.resolve())
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    printed, said = program.communicate()

    assert program.returncode == 130 and printed == ""
    assert "the same command resumes from there" in said and " ray" not in said.lower()
    assert (out / "long" / SNAPSHOT_NAME).exists() and not (out / "summary.json").exists()
    assert worker is not None and not Path(f"/proc/{worker}").exists()
