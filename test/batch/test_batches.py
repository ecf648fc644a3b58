# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Many recordings one after the other: results, failures, and what is not done twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from batch_samples import (
    BALL,
    SPHERE,
    assert_equal_batches,
    scored_batch,
    write_long_recording,
    write_recordings,
)

from referdino_core.batch.batch import (
    Batch,
    BatchProgress,
    Workers,
    replay_batch,
    replay_in_process,
)
from referdino_core.batch.batch_folder import BatchFolder
from referdino_core.batch.outcomes import MAX_DEATHS, Attempts
from referdino_core.batch.recordings import FoundRecording
from referdino_core.cli import main
from referdino_core.errors import Cancelled, SourceError
from referdino_core.progress import Progress, ProgressMonitor
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run_folder import RunFolder
from referdino_core.report.comparison import pair_runs
from referdino_core.session.model_choice import ModelChoice, load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work() -> Workers:
    return partial(replay_in_process, loaded=load(ModelChoice()))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("many") / "recordings")


@pytest.fixture(scope="module")
def done(recordings: Path, work: Workers, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    batch = scored_batch(recordings, tmp_path_factory.mktemp("runs"), with_report=True)
    replay_batch(batch, work)
    return batch


def copy_of(done: Batch, out: Path) -> Batch:
    shutil.copytree(done.out, out)
    return replace(done, out=out)


def frames_gone_through(batch: Batch, work: Workers) -> int:
    """How many frames it takes to do a batch."""
    seen: list[BatchProgress] = []
    replay_batch(batch, work, ProgressMonitor(seen.append))
    return seen[-1].frames


def lines_of(batch: Batch) -> list[dict[str, Any]]:
    text = (batch.out / "runs.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_every_recording_becomes_a_run_with_its_page(done: Batch) -> None:
    assert [one.name for one in done.recordings] == ["b_first", "broken", "c_second"]
    for name, frames in (("b_first", 8), ("c_second", 4)):
        run = RunFolder(done.out / name)
        assert run.summary["frames"]["answered"] == frames
        assert "<html" in (run.path / "report.html").read_text(encoding="utf-8")[:1000]
    assert not (done.out / "broken").exists()


def test_the_summary_sums_up_with_equal_weight_per_command(done: Batch) -> None:
    summary = json.loads((done.out / "summary.json").read_text())
    commands = [
        command
        for name in ("b_first", "c_second")
        for command in RunFolder(done.out / name).summary["scores"]["commands"]
    ]

    assert [command["sentence"] for command in commands] == [BALL, SPHERE, BALL]
    mean = sum(command["region"]["mean"] for command in commands) / 3
    assert summary["scores"]["region"] == pytest.approx(mean) and 0 < mean < 1
    lost = sum(command["frames_lost"] for command in commands)
    assert summary["scores"]["frames_lost"] == lost
    assert summary["commands_scored"] == 3
    assert summary["frames"] == {"read": 12, "answered": 12, "dropped": 0, "late": 0, "failed": 0}
    assert (summary["recordings"], summary["done"]) == (3, 2)
    assert [one["name"] for one in summary["runs"]] == ["b_first", "broken", "c_second"]


def test_a_broken_bag_is_listed_and_the_others_go_on(done: Batch) -> None:
    (failure,) = json.loads((done.out / "summary.json").read_text())["failed"]
    assert failure["name"] == "broken" and failure["source"].endswith("broken.mcap")
    assert "neither an MCAP file nor an SQLite database" in failure["reason"]
    # Tried again after all others.
    assert [line["name"] for line in lines_of(done)] == ["b_first", "c_second", "broken"]


def test_two_folders_of_runs_are_compared_by_name(done: Batch) -> None:
    assert [clip.name for clip in pair_runs(done.out, done.out).clips] == ["b_first", "c_second"]


def test_what_is_done_is_not_done_again(done: Batch, work: Workers, tmp_path: Path) -> None:
    batch = copy_of(done, tmp_path / "again")
    shutil.rmtree(batch.out / "c_second")
    (batch.out / "b_first" / "report.html").unlink()

    assert frames_gone_through(batch, work) == 4

    assert_equal_batches(done.out, batch.out)
    assert (batch.out / "b_first" / "report.html").is_file()
    names = sorted(line["name"] for line in lines_of(batch))
    assert names == ["b_first", "broken", "c_second"]


def test_a_torn_line_and_another_number_of_threads_cost_nothing(
    done: Batch, work: Workers, tmp_path: Path
) -> None:
    batch = copy_of(done, tmp_path / "torn")
    lines = (batch.out / "runs.jsonl").read_bytes()
    (batch.out / "runs.jsonl").write_bytes(lines[: lines.index(b"\n") + 30])
    identity = batch.out / "b_first" / ".identity.json"
    identity.write_text(json.dumps({**json.loads(identity.read_text()), "threads": 64}))

    assert frames_gone_through(batch, work) == 0

    assert len(lines_of(batch)) == 3


def test_a_recording_that_changed_is_replayed_anew(
    recordings: Path, work: Workers, tmp_path: Path
) -> None:
    bags = tmp_path / "bags"
    shutil.copytree(recordings / "c_second", bags / "second")
    batch = scored_batch(bags, tmp_path / "out", with_report=True)
    batch = replace(batch, recordings=(FoundRecording("second", bags / "second"),))
    assert frames_gone_through(batch, work) == 4
    shutil.rmtree(bags / "second")
    shutil.copytree(recordings / "b_first", bags / "second")

    assert frames_gone_through(batch, work) == 8

    assert RunFolder(batch.out / "second").summary["frames"]["read"] == 8
    page = (batch.out / "second" / "report.html").read_text(encoding="utf-8")
    assert SPHERE in page


def test_a_recording_that_fails_once_is_done_the_second_time(
    recordings: Path, work: Workers, tmp_path: Path
) -> None:
    late = tmp_path / "late"

    def deliver(progress: Progress) -> None:
        if progress.frames and not late.exists():
            shutil.copytree(recordings / "c_second", late)

    batch = scored_batch(recordings, tmp_path / "out")
    good = batch.recordings[0]
    batch = replace(batch, recordings=(FoundRecording("late", late), good))

    summary = replay_batch(batch, work, ProgressMonitor(deliver))

    assert summary["failed"] == [] and summary["done"] == 2
    assert [line["name"] for line in lines_of(batch)] == [good.name, "late"]


def cancelling_at(frames: int) -> ProgressMonitor:
    """A monitor that cancels a batch after so many frames."""

    def cancel(progress: Progress) -> None:
        assert isinstance(progress, BatchProgress)
        if progress.frames >= frames:
            monitor.cancelled.set()

    monitor = ProgressMonitor(cancel)
    return monitor


def test_a_batch_that_was_stopped_resumes_in_the_middle_of_a_recording(
    done: Batch, work: Workers, tmp_path: Path
) -> None:
    batch = replace(done, out=tmp_path / "stopped", with_report=False)
    monitor = cancelling_at(10)  # the second frame of the second recording

    with pytest.raises(Cancelled, match="after 1 of 3 recordings"):
        replay_batch(batch, work, monitor)

    assert not (batch.out / "summary.json").exists()
    assert not (batch.out / "c_second" / "summary.json").exists()
    assert [line["name"] for line in lines_of(batch)] == ["b_first"]
    snapshot = (batch.out / "c_second" / ".snapshot.pt").stat().st_mtime_ns
    journal = batch.out / "c_second" / ".frames.partial.jsonl"
    assert len(journal.read_text().splitlines()) == 2 and snapshot
    replay_batch(batch, work)
    assert_equal_batches(done.out, batch.out)


def test_runs_of_other_settings_are_not_overwritten(
    done: Batch, work: Workers, tmp_path: Path
) -> None:
    batch = copy_of(done, tmp_path / "other")
    before = (batch.out / "b_first" / "summary.json").read_bytes()
    other = replace(batch, common=replace(batch.common, sentences=(SPHERE,)))

    with pytest.raises(SourceError, match=r"differ in: commands\..*--restart"):
        replay_batch(other, work)

    assert (batch.out / "b_first" / "summary.json").read_bytes() == before
    anew = replace(other, common=replace(other.common, restart=True))
    assert frames_gone_through(anew, work) == 12
    commands = RunFolder(batch.out / "b_first").summary["commands"]
    assert [one["text"] for one in commands] == [SPHERE]
    assert frames_gone_through(other, work) == 0


def test_two_programs_do_not_share_a_folder(done: Batch, work: Workers, tmp_path: Path) -> None:
    batch = copy_of(done, tmp_path / "busy")
    with (
        BatchFolder(batch.out, {}, [], restart=True),
        pytest.raises(SourceError, match="Another referdino is at work"),
    ):
        replay_batch(batch, work)


def test_runs_do_not_get_among_the_recordings(done: Batch, recordings: Path, work: Workers) -> None:
    before = sorted(recordings.rglob("*"))
    for out in (recordings, done.recordings[0].path, done.recordings[0].path / "runs"):
        with pytest.raises(SourceError, match="The folder for results"):
            replay_batch(replace(done, out=out), work)
    assert sorted(recordings.rglob("*")) == before


def test_a_recording_that_costs_too_many_workers_is_given_up(tmp_path: Path) -> None:
    heavy, light = FoundRecording("heavy", tmp_path), FoundRecording("light", tmp_path / "light")
    attempts = Attempts([heavy, light])

    for _ in range(MAX_DEATHS - 1):
        assert attempts.take() == heavy and attempts.died(heavy) is None
    assert attempts.take() == heavy
    outcome = attempts.died(heavy)

    assert outcome is not None and "workers were killed" in (outcome.failure or "")
    assert attempts.take() == light and attempts.take() is None


def test_the_command_prints_a_table_and_tells_of_failures(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = write_long_recording(tmp_path / "long", 3)
    listed = tmp_path / "list.txt"
    listed.write_text(f"# more\n{long}\n{tmp_path / 'missing.mp4'}\n")
    out = tmp_path / "runs"
    command = ["replay", str(recordings), "--list", str(listed), "--out", str(out)]
    command += ["--command", BALL, "--topic", "/camera/image_raw", "--no-report"]

    status = main(command)

    printed, said = capsys.readouterr()
    lines = printed.splitlines()
    assert status == 1
    rows = [line.split()[:2] for line in lines[1:5]]
    assert rows == [["b_first", "8"], ["c_second", "4"], ["long", "3"], ["all", "15"]]
    assert lines[5] == "3 of 5 recordings, 2 failed"
    assert lines[6].startswith("failed: broken (") and "missing.mp4 does not exist" in lines[7]
    assert lines[-1] == str(out) and "warning: broken failed: " in said
    (recordings / "broken.mcap").rename(tmp_path / "broken.mcap")
    try:
        listed.write_text(str(long))
        assert main(command) == 0
    finally:
        (tmp_path / "broken.mcap").rename(recordings / "broken.mcap")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "2", "--out", "runs"], "--workers above 1 needs Ray; install it with: pip"),
        (["--ray-address", "auto", "--out", "runs"], "--ray-address needs Ray; install it with"),
        ([], "give --out DIR"),
        (["--out", "runs", "--list", "missing.txt"], "The list missing.txt cannot be read"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)  # as where it is not installed

    status = main(["replay", str(recordings), "--command", BALL, *arguments])

    (line,) = [one for one in capsys.readouterr().err.splitlines() if "error:" in one]
    assert status == 1 and said in line
    assert not list(tmp_path.iterdir())


def test_nothing_to_replay_is_wrong_usage() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["replay", "--command", BALL])

    assert caught.value.code == 2


def test_a_folder_of_mixed_recordings_needs_commands(work: Workers, tmp_path: Path) -> None:
    bag = write_long_recording(tmp_path / "bag", 2)
    silent = Batch((FoundRecording("bag", bag),), ReplayJob(Path(), Path()), tmp_path / "out")

    summary = replay_batch(silent, work)

    assert "There is nothing to find" in summary["failed"][0]["reason"]
    assert summary["scores"] is None and summary["runs"][0]["frames"] is None
