# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals of differences between two runs: the paired bootstrap (Efron 1979)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.report.metrics import Aggregation

RESAMPLES = 2000
SEED = 0
CONFIDENCE = 0.95
MIN_UNITS = 8  # below, resamples repeat each other and the interval comes out too narrow

Value = float | tuple[float, float]
"""A value, infinite for "never"; or numerator and denominator of a ratio."""
Pair = tuple[Value, Value]


def _median(values: np.ndarray) -> float:
    # Not NumPy's, whose mean of two infinities is NaN.
    known = values[~np.isnan(values)].tolist()
    return statistics.median(known)


def _ratio(parts: np.ndarray) -> float:
    numerator, denominator = (float(np.nansum(parts[..., part])) for part in (0, 1))
    return numerator / denominator if denominator else math.nan


_AGGREGATED: Mapping[Aggregation, Callable[[np.ndarray], Any]] = {
    "mean": np.nanmean,
    "median": _median,
    "ratio": _ratio,
    "sum": np.nansum,
}


@dataclass(frozen=True)
class Difference:
    """A metric of two runs, and the interval of its difference.

    Attributes:
        first, second: the metric over the pairs that both runs have; infinite for "never".
        low, high: limits of the interval of `second - first`; None if there are too few units.
        reached: number of finite values among the pairs, of the first and of the second run.
        pairs: number of commands with a value in both runs; units: number of their clips, or of
            the commands themselves if there is one clip.
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
        """The difference, second minus first; 0 if both are infinite."""
        return _excess(self.first, self.second)

    @property
    def is_clear(self) -> bool:
        """Whether the interval is known and does not contain 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_difference(
    units: Sequence[Sequence[Pair]],
    aggregation: Aggregation,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Difference | None:
    """The difference of a metric between two runs, with a 95 % percentile interval.

    Whole units are drawn with replacement, the same for both runs: clips, whose commands depend on
    each other, or commands if there is one clip.

    Args:
        units: per unit the pairs (value in the first run, value in the second).
        aggregation: how the values of commands are combined.

    Returns:
        None without pairs, or if a ratio's denominator is zero.
    """
    filled = [unit for unit in units if unit]
    if not filled:
        return None
    values = _padded(filled)
    summed = _AGGREGATED[aggregation]
    first, second = (float(summed(values[:, :, side])) for side in (0, 1))
    if math.isnan(first) or math.isnan(second):
        return None
    pairs = sum(len(unit) for unit in filled)
    before, after = (int(np.isfinite(values[:, :, side, 0]).sum()) for side in (0, 1))
    low = high = None
    if len(filled) >= MIN_UNITS:
        generator = np.random.default_rng(seed)
        excesses = []
        for _ in range(resamples):
            drawn = values[generator.integers(len(filled), size=len(filled))]
            excesses.append(_excess(summed(drawn[:, :, 0]), summed(drawn[:, :, 1])))
        low, high = _interval([excess for excess in excesses if not math.isnan(excess)])
    return Difference(first, second, low, high, pairs, len(filled), (before, after))


def _padded(units: Sequence[Sequence[Pair]]) -> np.ndarray:
    """Values (unit, command, run, part), padded with NaN."""
    pairs = [np.array(unit, dtype=np.float64).reshape(len(unit), 2, -1) for unit in units]
    longest = max(len(unit) for unit in units)
    values = np.full((len(units), longest, *pairs[0].shape[1:]), np.nan)
    for place, unit in enumerate(pairs):
        values[place, : len(unit)] = unit
    return values


def _excess(first: float, second: float) -> float:
    return 0.0 if first == second else float(second - first)


def _interval(values: list[float]) -> tuple[float, float]:
    """The central interval by percentiles, without interpolation: values may be infinite."""
    values.sort()
    tail = (1.0 - CONFIDENCE) / 2.0
    outside = int(tail * (len(values) - 1))
    return values[outside], values[len(values) - 1 - outside]
