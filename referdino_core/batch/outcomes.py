# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What came of a recording and its attempts, as plain data that travels between processes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from referdino_core.batch.recordings import FoundRecording
from referdino_core.replay.run_folder import RunFolder


@dataclass(frozen=True)
class RunOutcome:
    """What came of one recording.

    Attributes:
        name: of the recording and of its run's folder. source: path of the recording.
        failure: why there is no run, one line; None where there is one.
        frames: how many were read, answered, dropped, failed. seconds: of the recording.
        scores: over the commands of the run, as its own summary has them; None without ground
            truth.
        problems: what was wrong all the same, a line each.
    """

    name: str
    source: str
    failure: str | None = None
    frames: dict[str, int] | None = None
    seconds: float | None = None
    scores: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()

    def line(self) -> dict[str, Any]:
        """What `runs.jsonl` and the summary hold of it."""
        return {**asdict(self), "problems": list(self.problems)}


def outcome_of_run(name: str, run: RunFolder, problems: Sequence[str] = ()) -> RunOutcome:
    """What came of a recording whose run is complete.

    Args:
        problems: further ones than those of the run's own summary.
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
    """What came of a recording that could not be replayed."""
    return RunOutcome(recording.name, str(recording.path), failure=" ".join(reason.split()))


ATTEMPTS = 2
"""How often a recording is tried that fails."""
MAX_DEATHS = 3
"""Workers that one recording may cost before it is given up."""


class Attempts:
    """The recordings that wait. One that failed waits once more, behind all others."""

    def __init__(self, recordings: Iterable[FoundRecording]) -> None:
        self._waiting = deque(recordings)
        self._failures: Counter[FoundRecording] = Counter()
        self._deaths: Counter[FoundRecording] = Counter()

    def take(self) -> FoundRecording | None:
        """The next recording; None where none waits."""
        return self._waiting.popleft() if self._waiting else None

    def settle(self, recording: FoundRecording, outcome: RunOutcome) -> RunOutcome | None:
        """The outcome where it is final; None where the recording is tried again."""
        if outcome.failure is None:
            return outcome
        self._failures[recording] += 1
        if self._failures[recording] >= ATTEMPTS:
            return outcome
        self._waiting.append(recording)
        return None

    def died(self, recording: FoundRecording) -> RunOutcome | None:
        """Note that a worker was killed over a recording, which is next then and goes on where it
        was; returns its failure where that happened too often.
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
