# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Replays many recordings into one folder, which can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from referdino_core.batch.batch_folder import BatchFolder
from referdino_core.batch.batch_summary import summarise
from referdino_core.batch.outcomes import Attempts, RunOutcome
from referdino_core.batch.recordings import FoundRecording
from referdino_core.errors import ReferDINOError
from referdino_core.evaluation.ground_truth.opening import TOPIC, WORLD
from referdino_core.replay.directory_lock import check_apart
from referdino_core.replay.opening import ReplayJob, changes_of
from referdino_core.session.model_choice import ModelChoice
from referdino_core.user_files import user_path


class BatchInterrupted(ReferDINOError):
    """A batch was asked to stop; it goes on when the same is asked for again."""


@dataclass(frozen=True)
class Batch:
    """What is to be replayed.

    Attributes:
        recordings: in the order of the summary.
        common: what is done with each; its `source` and `out` do not count, and `restart` begins
            all runs anew.
        out: folder of the runs. with_report: whether every run gets its page.
    """

    recordings: tuple[FoundRecording, ...]
    common: ReplayJob
    out: Path
    with_report: bool = True

    def job(self, recording: FoundRecording) -> ReplayJob:
        """What is done with one recording; holds on whatever machine sees the same files."""
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
        """What every worker loads."""
        model = self.common.model
        return replace(
            model, checkpoint=_absolute(model.checkpoint), exports=_absolute(model.exports)
        )


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is.

    Attributes:
        recordings: of the batch. finished: those among them that are done or failed.
        share: of the recordings that is behind us, 0 to 1; counts those that are under way.
        frames: how many were gone through since the batch was taken up.
    """

    recordings: int
    finished: int
    share: float
    frames: int


def _ignore(progress: BatchProgress) -> None:
    return None


def _ignore_outcome(outcome: RunOutcome) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True)
class BatchWatch:
    """What a batch tells, and asks.

    Attributes:
        on_progress: told now and then. on_outcome: told of every recording that is finished.
        stop_requested: asked all the time.
    """

    on_progress: Callable[[BatchProgress], None] = _ignore
    on_outcome: Callable[[RunOutcome], None] = _ignore_outcome
    stop_requested: Callable[[], bool] = _never


Workers = Callable[[Batch, Attempts, BatchWatch], Iterator[RunOutcome]]
"""Who does the work: gives the final outcomes as they come, and ends early when asked to stop."""


def replay_batch(batch: Batch, work: Workers, watch: BatchWatch | None = None) -> dict[str, Any]:
    """Replay all recordings of a batch; returns the summary, which is in the folder as well.

    Recordings that an earlier attempt finished are not done again; one that was under way goes on
    where it was; those that failed are tried again.

    Raises:
        BatchInterrupted: the watch asked to stop; the same batch goes on from there.
        ReferDINOError: the model, the folder, the commands or the workers cannot be used.
    """
    watch = watch or BatchWatch()
    for recording in batch.recordings:
        check_apart(batch.out, recording.path)
    settings = batch_settings(batch)
    names = [recording.name for recording in batch.recordings]
    outcomes: dict[str, RunOutcome] = {}
    with BatchFolder(batch.out, settings, names, batch.common.restart) as folder:
        for outcome in work(batch, Attempts(batch.recordings), watch):
            outcomes[outcome.name] = outcome
            folder.add(outcome)
            watch.on_outcome(outcome)
        if len(outcomes) < len(names):
            raise BatchInterrupted(
                f"Stopped after {len(outcomes)} of {len(names)} recordings; the same command goes "
                "on from there."
            )
        summary = summarise(batch.out, [outcomes[name] for name in names])
        folder.complete(summary)
    return summary


def batch_settings(batch: Batch) -> dict[str, Any]:
    """What all runs of a batch have in common, as plain data.

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
        "model": {
            name: str(value) if isinstance(value, Path) else value for name, value in model.items()
        },
    }


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else user_path(path).absolute()


def _absolute_truth(truth: str | None) -> str | None:
    """The same ground truth, wherever the program runs."""
    if truth is None or truth.startswith((TOPIC, WORLD)):
        return truth
    return str(user_path(truth).absolute())
