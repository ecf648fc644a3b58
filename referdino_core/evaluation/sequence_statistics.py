# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Mean, recall and decay of a measure over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RECALL_THRESHOLD = 0.5
PARTS = 4


@dataclass(frozen=True)
class SequenceStatistics:
    """How a measure of frames went over a sequence, as DAVIS sums it up.

    Attributes:
        mean: over the frames.
        recall: share of the frames above 0.5.
        decay: mean of the first quarter of the frames less that of the last.
    """

    mean: float
    recall: float
    decay: float


def sequence_statistics(values: Sequence[float]) -> SequenceStatistics:
    """Statistics of the values of a sequence's frames, in their order.

    Quarters share their end frames, as in the DAVIS code: their bounds are 0, 1/4, 1/2, 3/4 and
    1 of the last index, rounded half up. DAVIS leaves out a sequence's first and last frame; that
    choice is the caller's.

    Args:
        values: at least one number.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("A sequence without frames has no statistics.")
    measured = np.asarray(values, dtype=np.float64)
    bounds = np.floor(np.linspace(0, len(measured) - 1, PARTS + 1) + 0.5).astype(int)
    first, last = measured[: bounds[1] + 1], measured[bounds[-2] :]
    return SequenceStatistics(
        mean=float(measured.mean()),
        recall=float(np.mean(measured > RECALL_THRESHOLD)),
        decay=float(first.mean() - last.mean()),
    )
