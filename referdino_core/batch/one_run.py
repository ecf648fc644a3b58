# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Replay of one recording of a batch: skipped if complete, resumed, or started anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from referdino_core.batch.outcomes import RunOutcome, failed, outcome_of_run
from referdino_core.batch.recordings import FoundRecording
from referdino_core.errors import Cancelled, ReferDINOError, SourceError
from referdino_core.files import AtomicFile, OutputError
from referdino_core.progress import ProgressMonitor
from referdino_core.replay.opening import ReplayJob, changes_of
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import REPORT_NAME, SUMMARY_NAME, RunFolder
from referdino_core.replay.run_summary import identity_of
from referdino_core.session.model_choice import LoadedEngine

IDENTITY_NAME = ".identity.json"
"""Name of the file that holds the identity of a run, from before it begins."""


def run_recording(
    job: ReplayJob, loaded: LoadedEngine, monitor: ProgressMonitor, with_report: bool
) -> RunOutcome:
    """Replay a recording unless its run is complete; `job.out` has the recording's name.

    Any error becomes its outcome, so that the other recordings are still replayed.

    Raises:
        Cancelled: the run was cancelled; it can be resumed.
    """
    recording = FoundRecording(job.out.name, job.source)
    try:
        run = _complete_run(job, loaded, monitor)
        problems = _report_problems(run) if with_report else []
        return outcome_of_run(recording.name, run, problems)
    except Cancelled:
        raise
    except ReferDINOError as error:
        reason = str(error)
    except Exception as error:  # whatever it is, the other recordings go on
        reason = f"unexpected {type(error).__name__}: {error}"
    _remove_if_empty(job.out)
    return failed(recording, reason)


def forget(folder: Path) -> None:
    """Remove what marks the run in a folder as complete or begun.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        (folder / IDENTITY_NAME).unlink(missing_ok=True)
        for name in (SUMMARY_NAME, REPORT_NAME):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}.") from error


def _complete_run(job: ReplayJob, loaded: LoadedEngine, monitor: ProgressMonitor) -> RunFolder:
    identity = json.loads(json.dumps(identity_of(job, loaded, changes_of(job))))
    earlier = _read_identity(job.out)
    if earlier is not None and _give_the_same(earlier, identity) and _is_complete(job.out):
        return RunFolder(job.out)
    anew = earlier != identity
    if anew:
        forget(job.out)
        _write_identity(job.out, identity)
    return RunFolder(replay(replace(job, restart=anew), loaded, monitor))


def _give_the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two identities are equal but for the number of threads.

    That number follows the number of workers, whose change must not repeat complete runs.
    """
    return {**one, "threads": None} == {**other, "threads": None}


def _is_complete(folder: Path) -> bool:
    try:
        RunFolder(folder)
    except SourceError:
        return False
    return True


def _read_identity(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / IDENTITY_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write_identity(folder: Path, identity: dict[str, Any]) -> None:
    file = AtomicFile(folder / IDENTITY_NAME)
    try:
        file.temporary_path.write_text(json.dumps(identity), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file.path} cannot be written: {error.strerror}.") from error
    file.commit()


def _remove_if_empty(folder: Path) -> None:
    """Remove the folder of a run that never started."""
    if folder.is_dir() and [path.name for path in folder.iterdir()] == [IDENTITY_NAME]:
        (folder / IDENTITY_NAME).unlink()
        folder.rmdir()


def _report_problems(run: RunFolder) -> list[str]:
    """Write the report of a run that has none; returns the problem if that fails."""
    if (run.path / REPORT_NAME).is_file():
        return []
    from referdino_core.report import write_report

    try:
        write_report(run.path)
    except Exception as error:  # the run itself is complete
        return [f"No {REPORT_NAME}: {' '.join(str(error).split())}"]
    return []
