# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Percentiles of durations in constant memory, however many there are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

SHARES = (0.5, 0.9, 0.95, 0.99)

_SHORTEST = 1e-6  # seconds; shorter ones count as this
_STEP = math.log(1.01)  # classes 1 % apart


@dataclass
class Durations:
    """A histogram of seconds by logarithmic classes, and their largest.

    Percentiles are right to 1 %, the largest exactly.
    """

    count: int = 0
    worst: float = 0.0
    _classes: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one duration, in seconds of at least 0."""
        self.count += 1
        self.worst = max(self.worst, seconds)
        place = round(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _STEP)
        self._classes[place] = self._classes.get(place, 0) + 1

    def percentile(self, share: float) -> float | None:
        """The duration that a share (0…1) of all do not exceed; None where there are none."""
        wanted = share * self.count
        seen = 0
        for place in sorted(self._classes):
            seen += self._classes[place]
            if seen >= wanted:
                return min(_SHORTEST * math.exp(place * _STEP), self.worst)
        return None
