# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a difference between two runs is: the paired bootstrap (Efron 1979)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.report.metrics_of_runs import Summing

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
FEWEST_UNITS = 8  # below, resamples repeat each other and the interval comes out too narrow

Value = float | tuple[float, float]
"""A value, infinity for never; or numerator and denominator of a ratio."""
Pair = tuple[Value, Value]


def _median(values: np.ndarray) -> float:
    # Not NumPy's, which makes of two infinities something that is no number.
    known = values[~np.isnan(values)].tolist()
    return statistics.median(known)


def _ratio(parts: np.ndarray) -> float:
    numerator, denominator = (float(np.nansum(parts[..., part])) for part in (0, 1))
    return numerator / denominator if denominator else math.nan


_SUMMED: Mapping[Summing, Callable[[np.ndarray], Any]] = {
    "mean": np.nanmean,
    "median": _median,
    "ratio": _ratio,
    "sum": np.nansum,
}


@dataclass(frozen=True)
class Difference:
    """A figure of two runs.

    Attributes:
        first, second: the figure over the pairs that both runs have; infinity is never.
        low, high: limits of the interval of `second - first`; None where there are too few units.
        reached: how many of the pairs are not never, in either run.
        pairs: commands that both runs have a value of; units: of those the clips, or the commands
            themselves where there is one clip.
    """

    first: float
    second: float
    low: float | None
    high: float | None
    pairs: int
    units: int
    reached: tuple[int, int]

    @property
    def value(self) -> float:
        """By how much the second exceeds the first; 0 where both are never."""
        return _excess(self.first, self.second)

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
        None where there is no pair, or a ratio has no denominator.
    """
    filled = [unit for unit in units if unit]
    if not filled:
        return None
    values = _padded(filled)
    summed = _SUMMED[summing]
    first, second = (float(summed(values[:, :, side])) for side in (0, 1))
    if math.isnan(first) or math.isnan(second):
        return None
    pairs = sum(len(unit) for unit in filled)
    before, after = (int(np.isfinite(values[:, :, side, 0]).sum()) for side in (0, 1))
    low = high = None
    if len(filled) >= FEWEST_UNITS:
        generator = np.random.default_rng(seed)
        excesses = []
        for _ in range(resamples):
            drawn = values[generator.integers(len(filled), size=len(filled))]
            excesses.append(_excess(summed(drawn[:, :, 0]), summed(drawn[:, :, 1])))
        low, high = _interval([excess for excess in excesses if not math.isnan(excess)])
    return Difference(first, second, low, high, pairs, len(filled), (before, after))


def _padded(units: Sequence[Sequence[Pair]]) -> np.ndarray:
    """Values (unit, command, run, part), NaN where a unit has no more commands."""
    pairs = [np.array(unit, dtype=np.float64).reshape(len(unit), 2, -1) for unit in units]
    longest = max(len(unit) for unit in units)
    values = np.full((len(units), longest, *pairs[0].shape[1:]), np.nan)
    for place, unit in enumerate(pairs):
        values[place, : len(unit)] = unit
    return values


def _excess(first: float, second: float) -> float:
    return 0.0 if first == second else float(second - first)


def _interval(values: list[float]) -> tuple[float, float]:
    """The percentiles around the middle; themselves among the values, which may be infinite."""
    values.sort()
    tail = (1.0 - CONFIDENCE) / 2.0
    outside = int(tail * (len(values) - 1))
    return values[outside], values[len(values) - 1 - outside]
