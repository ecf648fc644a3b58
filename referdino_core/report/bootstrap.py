# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a difference between two runs is: the paired bootstrap (Efron 1979)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.report.measures_of_runs import Summing

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
FEWEST_UNITS = 8  # below, resamples repeat each other and the interval comes out too narrow

_SUMMED: Mapping[Summing, Callable[[np.ndarray], Any]] = {
    "mean": np.nanmean,
    "median": np.nanmedian,
    "sum": np.nansum,
}

Pair = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """A figure of two runs.

    Attributes:
        first, second: the figure over the pairs that both runs have.
        low, high: limits of the interval of `second - first`; None where there are too few units.
        pairs: commands that both runs have a value of; units: of those the clips, or the commands
            themselves where there is one clip.
    """

    first: float
    second: float
    low: float | None
    high: float | None
    pairs: int
    units: int

    @property
    def value(self) -> float:
        """By how much the second exceeds the first."""
        return self.second - self.first

    @property
    def is_clear(self) -> bool:
        """Whether the interval is known and does not contain 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_difference(
    units: Sequence[Sequence[Pair]],
    summing: Summing,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Difference | None:
    """The difference of a figure between two runs, with a 95 % percentile interval.

    Whole units are drawn with replacement, the same for both runs: clips, whose commands depend on
    each other, or commands where there is one clip.

    Args:
        units: per unit the pairs (value in the first run, value in the second).
        summing: how values come to one figure.

    Returns:
        None where there is no pair.
    """
    filled = [unit for unit in units if unit]
    if not filled:
        return None
    longest = max(len(unit) for unit in filled)
    values = np.full((len(filled), longest, 2), np.nan)
    for place, unit in enumerate(filled):
        values[place, : len(unit)] = unit
    summed = _SUMMED[summing]
    first, second = (float(summed(values[..., side])) for side in (0, 1))
    pairs = sum(len(unit) for unit in filled)
    if len(filled) < FEWEST_UNITS:
        return Difference(first, second, None, None, pairs, len(filled))
    generator = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for place in range(resamples):
        drawn = values[generator.integers(len(filled), size=len(filled))]
        differences[place] = summed(drawn[..., 1]) - summed(drawn[..., 0])
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(differences, (tail, 1.0 - tail))
    return Difference(first, second, float(low), float(high), pairs, len(filled))
