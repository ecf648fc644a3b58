# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Percentiles of latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LatencyPercentiles:
    """How long answers took.

    Attributes:
        count: how many there were.
        median, percentile_90, percentile_95, percentile_99, worst: seconds; between two measured
            values they are interpolated linearly.
    """

    count: int
    median: float
    percentile_90: float
    percentile_95: float
    percentile_99: float
    worst: float


def latency_percentiles(seconds: Sequence[float]) -> LatencyPercentiles | None:
    """Percentiles of latencies in seconds; None where there are none."""
    if not len(seconds):
        return None
    median, *others = np.percentile(np.asarray(seconds, dtype=np.float64), (50, 90, 95, 99, 100))
    return LatencyPercentiles(len(seconds), float(median), *(float(value) for value in others))
