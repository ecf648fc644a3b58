# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of a whole benchmark out of J and F of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from referdino_core.evaluation.davis import sequence_statistics

MEASURES = ("region", "boundary")


def total_of_tracks(tracks: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean, recall and decay of J and F, averaged over tracks; None where there are none.

    Args:
        tracks: per track "region" and "boundary", the values of its judged frames in order.

    Returns:
        "tracks" (their number), "region" and "boundary" (each with "mean", "recall" and "decay"),
        and "region_and_boundary", the mean of the two means.
    """
    statistics = [
        {measure: asdict(sequence_statistics(track[measure])) for measure in MEASURES}
        for track in tracks
    ]
    if not statistics:
        return None
    means = {
        measure: {
            kind: float(np.mean([one[measure][kind] for one in statistics]))
            for kind in statistics[0][measure]
        }
        for measure in MEASURES
    }
    return {"tracks": len(statistics), **means, "region_and_boundary": _both(means)}


def mean_total(totals: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The mean of several totals, each weighing the same; None where there are none."""
    if not totals:
        return None
    means = {
        measure: {
            kind: float(np.mean([total[measure][kind] for total in totals]))
            for kind in totals[0][measure]
        }
        for measure in MEASURES
    }
    return {
        "tracks": sum(total["tracks"] for total in totals),
        **means,
        "region_and_boundary": _both(means),
    }


def _both(means: dict[str, dict[str, float]]) -> float:
    return (means["region"]["mean"] + means["boundary"]["mean"]) / 2
