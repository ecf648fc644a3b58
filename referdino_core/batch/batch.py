# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Resumable replay of many recordings into one folder, one by one or by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from referdino_core.batch.batch_folder import BatchFolder
from referdino_core.batch.one_run import run_recording
from referdino_core.batch.outcomes import Attempts, RunOutcome, WorkerProgress, summarise
from referdino_core.batch.recordings import FoundRecording
from referdino_core.errors import Cancelled
from referdino_core.evaluation.benchmarks import STREAM
from referdino_core.evaluation.ground_truth.opening import TOPIC, WORLD
from referdino_core.progress import Progress, ProgressMonitor
from referdino_core.replay.directory_lock import check_apart
from referdino_core.replay.opening import ReplayJob, changes_of
from referdino_core.replay.whole_clip import load_for_replay
from referdino_core.session.model_choice import LoadedEngine, ModelChoice
from referdino_core.user_files import user_path


@dataclass(frozen=True)
class Batch:
    """Recordings to replay, with their common options.

    Attributes:
        recordings: in the order of the summary.
        common: options of every run; its `source` and `out` are ignored, and `restart` restarts
            all runs.
        out: folder of the runs. with_report: whether to write a report per run.
    """

    recordings: tuple[FoundRecording, ...]
    common: ReplayJob
    out: Path
    with_report: bool = True

    def job(self, recording: FoundRecording) -> ReplayJob:
        """The job of one recording, valid on every machine with the same files."""
        return replace(
            self.common,
            source=recording.path,
            out=self.out.absolute() / recording.name,
            command_file=_absolute(self.common.command_file),
            truth=_absolute_truth(self.common.truth),
            model=self.model,
            restart=False,
        )

    @property
    def model(self) -> ModelChoice:
        """The model that every worker loads."""
        model = self.common.model
        return replace(
            model, checkpoint=_absolute(model.checkpoint), exports=_absolute(model.exports)
        )


@dataclass(frozen=True)
class BatchProgress(Progress):
    """Progress of a batch, in recordings; those in progress count by their completed fraction.

    Attributes:
        finished: number of recordings that are done or failed.
        frames: number of frames processed since the batch was started or resumed.
    """

    finished: int = 0
    frames: int = 0


def batch_progress(total: int, finished: int, fractions: float, frames: int) -> BatchProgress:
    """Progress of a batch of `total` recordings; `fractions`: sum over those in progress."""
    phase = f"{finished}/{total} recordings"
    return BatchProgress(finished + fractions, total, phase, finished, frames)


def _ignore(outcome: RunOutcome) -> None:
    return None


Workers = Callable[[Batch, Attempts, ProgressMonitor], Iterator[RunOutcome]]
"""Yields the final outcomes of a batch as they come; ends early on cancellation."""


def replay_batch(
    batch: Batch,
    work: Workers,
    monitor: ProgressMonitor | None = None,
    on_outcome: Callable[[RunOutcome], None] = _ignore,
) -> dict[str, Any]:
    """Replay all recordings of a batch; returns the summary, which is written to the folder.

    Recordings that an earlier attempt completed are skipped, one in progress is resumed, and those
    that failed are tried again.

    Args:
        work: processes the recordings: `replay_in_process`, or workers of Ray.
        monitor: for progress, as `BatchProgress`, and cancellation.
        on_outcome: called for every finished recording.

    Raises:
        Cancelled: the batch was cancelled; the same batch resumes from there.
        ReferDINOError: the model, the folder, the commands or the workers cannot be used.
    """
    monitor = monitor or ProgressMonitor()
    for recording in batch.recordings:
        check_apart(batch.out, recording.path)
    settings = batch_settings(batch)
    names = [recording.name for recording in batch.recordings]
    outcomes: dict[str, RunOutcome] = {}
    with BatchFolder(batch.out, settings, names, batch.common.restart) as folder:
        for outcome in work(batch, Attempts(batch.recordings), monitor):
            outcomes[outcome.name] = outcome
            folder.add(outcome)
            on_outcome(outcome)
        if len(outcomes) < len(names):
            raise Cancelled(
                f"Stopped after {len(outcomes)} of {len(names)} recordings; the same command "
                "resumes from there."
            )
        summary = summarise(batch.out, [outcomes[name] for name in names])
        folder.complete(summary)
    return summary


def replay_in_process(
    batch: Batch,
    attempts: Attempts,
    monitor: ProgressMonitor,
    loaded: LoadedEngine | None = None,
) -> Iterator[RunOutcome]:
    """Replay recordings one by one in this process, with a model that is loaded once.

    Yields the final outcomes as they come; ends early on cancellation.

    Args:
        loaded: the model of the batch, if it is already loaded.

    Raises:
        ReferDINOError: the model cannot be loaded.
    """
    loaded = loaded or load_for_replay(batch.model, batch.common.inference)
    own = WorkerProgress()
    finished = 0

    def report() -> None:
        total = len(batch.recordings)
        monitor.on_progress(batch_progress(total, finished, own.fraction, own.frames))

    def update(progress: Progress) -> None:
        own.update(progress)
        report()

    run_monitor = ProgressMonitor(update, monitor.cancelled)
    while not monitor.cancelled.is_set() and (recording := attempts.take()) is not None:
        try:
            outcome = run_recording(batch.job(recording), loaded, run_monitor, batch.with_report)
        except Cancelled:
            return
        own.end_run()
        final = attempts.conclude(recording, outcome)
        if final is not None:
            finished += 1
            yield final
        report()


def batch_settings(batch: Batch) -> dict[str, Any]:
    """The common options of all runs of a batch, as plain data.

    Raises:
        SourceError: the commands cannot be read.
    """
    job = batch.common
    model = asdict(job.model)
    if job.model.checkpoint is not None and job.model.checkpoint.is_file():
        status = job.model.checkpoint.stat()
        model["checkpoint"] = [str(job.model.checkpoint.absolute()), status.st_size]
    return {
        "commands": [asdict(change) for change in changes_of(job)],
        "command topic": job.command_topic,
        "topic": job.topic,
        "inputs": job.inputs,
        "truth": [_absolute_truth(job.truth), job.meanings],
        "clock": [job.clock.summary(), getattr(job.clock, "latencies", ())],
        "frame rate": job.frame_rate,
        **({} if job.inference == STREAM else {"inference": job.inference}),
        "model": {
            name: str(value) if isinstance(value, Path) else value for name, value in model.items()
        },
    }


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else user_path(path).absolute()


def _absolute_truth(truth: str | None) -> str | None:
    """The specification of ground truth with an absolute path."""
    if truth is None or truth.startswith((TOPIC, WORLD)):
        return truth
    return str(user_path(truth).absolute())
