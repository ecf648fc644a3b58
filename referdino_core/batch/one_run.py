# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One recording of a batch: recognised as done, taken up where it was, or replayed anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from referdino_core.batch.outcomes import RunOutcome, failed, outcome_of_run
from referdino_core.batch.recordings import FoundRecording
from referdino_core.errors import ReferDINOError, SourceError
from referdino_core.files import AtomicFile, OutputError
from referdino_core.replay.opening import ReplayJob, changes_of
from referdino_core.replay.progress import RunInterrupted, RunWatch
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import REPORT_NAME, SUMMARY_NAME, RunFolder
from referdino_core.replay.run_summary import identity_of
from referdino_core.session.model_choice import LoadedModel

IDENTITY_NAME = ".identity.json"
"""Says what a run is made of, from before it begins."""


def run_recording(
    job: ReplayJob, loaded: LoadedModel, watch: RunWatch, with_report: bool
) -> RunOutcome:
    """Replay a recording unless that was done already; `job.out` has the recording's name.

    Whatever goes wrong with it is its outcome, so that others go on.

    Raises:
        RunInterrupted: the watch asked to stop.
    """
    recording = FoundRecording(job.out.name, job.source)
    try:
        run = _complete_run(job, loaded, watch)
        problems = _report_problems(run) if with_report else []
        return outcome_of_run(recording.name, run, problems)
    except RunInterrupted:
        raise
    except ReferDINOError as error:
        reason = str(error)
    except Exception as error:  # whatever it is, hundreds of others wait
        reason = f"unexpected {type(error).__name__}: {error}"
    _remove_if_empty(job.out)
    return failed(recording, reason)


def forget(folder: Path) -> None:
    """See that nothing in the folder of a run is taken for done or begun.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        (folder / IDENTITY_NAME).unlink(missing_ok=True)
        for name in (SUMMARY_NAME, REPORT_NAME):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}.") from error


def _complete_run(job: ReplayJob, loaded: LoadedModel, watch: RunWatch) -> RunFolder:
    identity = json.loads(json.dumps(identity_of(job, loaded, changes_of(job))))
    earlier = _read_identity(job.out)
    if earlier is not None and _give_the_same(earlier, identity) and _is_complete(job.out):
        return RunFolder(job.out)
    anew = earlier != identity
    if anew:
        forget(job.out)
        _write_identity(job.out, identity)
    return RunFolder(replay(replace(job, restart=anew), loaded, watch))


def _give_the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two identities differ in nothing but the threads: their number follows that of the
    workers, and what is done stays done when that changes.
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
    """Remove the folder of a run that never began."""
    if folder.is_dir() and [path.name for path in folder.iterdir()] == [IDENTITY_NAME]:
        (folder / IDENTITY_NAME).unlink()
        folder.rmdir()


def _report_problems(run: RunFolder) -> list[str]:
    """Write the page of a run that has none; returns why that cannot be done."""
    if (run.path / REPORT_NAME).is_file():
        return []
    from referdino_core.report import write_report

    try:
        write_report(run.path)
    except Exception as error:  # the run itself is complete
        return [f"No {REPORT_NAME}: {' '.join(str(error).split())}"]
    return []
