# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which recording is next, and whether one that failed is tried again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from referdino_core.batch.outcomes import RunOutcome, failed
from referdino_core.batch.recordings import FoundRecording

ATTEMPTS = 2
"""How often a recording is tried that fails."""
MOST_DEATHS = 3
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
        if self._deaths[recording] >= MOST_DEATHS:
            return failed(
                recording,
                f"{MOST_DEATHS} workers were killed while they replayed it, probably for want of "
                "memory; replay it by itself to see why.",
            )
        self._waiting.appendleft(recording)
        return None
