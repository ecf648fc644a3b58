# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Outcomes of a batch: of recordings, their attempts and workers, and the summary of all."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from referdino_core.batch.recordings import FoundRecording
from referdino_core.evaluation.davis import SequenceStatistics
from referdino_core.evaluation.stream_scores import CommandScores, overall_scores
from referdino_core.evaluation.tracking_measures import TrackingScores
from referdino_core.progress import Progress
from referdino_core.replay.run_folder import RunFolder
from referdino_core.replay.run_summary import referdino_version


@dataclass(frozen=True)
class RunOutcome:
    """Outcome of one recording: a run or a failure.

    Attributes:
        name: of the recording and of its run's folder. source: path of the recording.
        failure: why there is no run, one line; None if there is one.
        frames: numbers of frames as in the run's summary. seconds: length of the recording.
        scores: over the commands of the run, as in the run's summary; None without ground truth.
        problems: problems of the run, a line each.
    """

    name: str
    source: str
    failure: str | None = None
    frames: dict[str, int] | None = None
    seconds: float | None = None
    scores: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()

    def line(self) -> dict[str, Any]:
        """The entry in `runs.jsonl` and in the summary."""
        return {**asdict(self), "problems": list(self.problems)}


def outcome_of_run(name: str, run: RunFolder, problems: Sequence[str] = ()) -> RunOutcome:
    """The outcome of a recording with a complete run.

    Args:
        problems: to be added to those of the run's summary.
    """
    summary = run.summary
    scores = summary["scores"]
    return RunOutcome(
        name=name,
        source=summary["source"]["path"],
        frames=summary["frames"],
        seconds=summary["source"]["seconds"],
        scores=None if scores is None else scores["all"],
        problems=(*summary["problems"], *problems),
    )


def failed(recording: FoundRecording, reason: str) -> RunOutcome:
    """The outcome of a recording that could not be replayed."""
    return RunOutcome(recording.name, str(recording.path), failure=" ".join(reason.split()))


@dataclass
class WorkerProgress:
    """Progress of a worker, which replays one recording after another.

    Attributes:
        frames: number of frames processed so far, over all its runs.
        fraction: completed fraction of the current run; 0 if its length is unknown.
    """

    frames: int = 0
    fraction: float = 0.0

    def update(self, progress: Progress) -> None:
        """Update the progress with a report of the current run, which comes after every frame."""
        self.frames += progress.done > 0
        self.fraction = progress.fraction

    def end_run(self) -> None:
        """Reset the fraction at the end of a run."""
        self.fraction = 0.0


ATTEMPTS = 2
"""Maximum number of attempts at a recording that fails."""
MAX_DEATHS = 3
"""Maximum number of workers killed over one recording."""


class Attempts:
    """Queue of recordings; one that failed is queued once more, behind all others."""

    def __init__(self, recordings: Iterable[FoundRecording]) -> None:
        self._waiting = deque(recordings)
        self._failures: Counter[FoundRecording] = Counter()
        self._deaths: Counter[FoundRecording] = Counter()

    def take(self) -> FoundRecording | None:
        """The next recording; None if the queue is empty."""
        return self._waiting.popleft() if self._waiting else None

    def conclude(self, recording: FoundRecording, outcome: RunOutcome) -> RunOutcome | None:
        """The outcome if it is final; None if the recording is tried again."""
        if outcome.failure is None:
            return outcome
        self._failures[recording] += 1
        if self._failures[recording] >= ATTEMPTS:
            return outcome
        self._waiting.append(recording)
        return None

    def died(self, recording: FoundRecording) -> RunOutcome | None:
        """Queue a recording first again after its worker was killed, to be resumed; returns its
        failure if that happened too often.
        """
        self._deaths[recording] += 1
        if self._deaths[recording] >= MAX_DEATHS:
            return failed(
                recording,
                f"{MAX_DEATHS} workers were killed while they replayed it, probably for want of "
                "memory; replay it by itself to see why.",
            )
        self._waiting.appendleft(recording)
        return None


FORMAT = 1
_COMMON = (
    "model", "runtime", "device", "inference", "window", "settings", "clock", "commit", "versions",
)  # fmt: skip


def summarise(folder: Path, outcomes: Sequence[RunOutcome]) -> dict[str, Any]:
    """The summary of a batch, which is reproducible: it holds no wall-clock times.

    Args:
        folder: with the runs.
        outcomes: of all recordings, in order.

    Raises:
        SourceError: a run that was complete no longer is.
    """
    done = [outcome for outcome in outcomes if outcome.failure is None]
    common: dict[str, Any] = {}
    commands: list[CommandScores] = []
    streaming: list[CommandScores] = []
    scored = False
    for outcome in done:
        summary = RunFolder(folder / outcome.name).summary
        common = common or {name: summary[name] for name in _COMMON if name in summary}
        if summary["scores"] is not None:
            scored = True
            commands += map(_command_scores, summary["scores"]["commands"])
            streamed = summary["scores"].get("streaming") or {"commands": ()}
            streaming += map(_command_scores, streamed["commands"])
    return {
        "format": FORMAT,
        "kind": "runs",
        "referdino": referdino_version(),
        **common,
        "recordings": len(outcomes),
        "done": len(done),
        "failed": [
            {"name": outcome.name, "source": outcome.source, "reason": outcome.failure}
            for outcome in outcomes
            if outcome.failure is not None
        ],
        "with_problems": sum(bool(outcome.problems) for outcome in done),
        "frames": _sums(outcome.frames for outcome in done if outcome.frames is not None),
        "seconds": sum(outcome.seconds or 0.0 for outcome in done),
        "commands_scored": len(commands),
        "scores": asdict(overall_scores(commands)) if scored else None,
        "streaming": asdict(overall_scores(streaming)) if streaming else None,
        "runs": [outcome.line() for outcome in outcomes],
    }


def _command_scores(entry: Mapping[str, Any]) -> CommandScores:
    known = {one.name for one in fields(CommandScores)}
    values = {name: value for name, value in entry.items() if name in known}
    for name in ("region", "boundary"):
        if values[name] is not None:
            values[name] = SequenceStatistics(**values[name])
    if values.get("tracking") is not None:
        values["tracking"] = TrackingScores(**values["tracking"])
    return CommandScores(**values)


def _sums(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total = Counter({"read": 0, "answered": 0, "dropped": 0, "late": 0, "failed": 0})
    for one in counts:
        total.update(one)
    return dict(total)
