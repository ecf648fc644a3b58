# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of DAVIS: region similarity J, boundary accuracy F, and their statistics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from referdino_core.errors import ImageError
from referdino_core.target import mask_overlap

ABSENT_AREA = 15
"""Evaluated pixels of ground truth below which an object counts as absent from a frame."""


def without_ignored(
    prediction: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and ground truth, (H, W) bool, without the pixels of an ignore mask.

    Raises:
        ImageError: the sizes differ, or an array is not boolean.
    """
    given = {"prediction": prediction, "ground truth": truth}
    if ignored is not None:
        given["ignore mask"] = ignored
    for name, mask in given.items():
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ImageError(f"The {name} must be (H, W) bool, not {mask.shape} {mask.dtype}.")
        if mask.shape != truth.shape:
            raise ImageError(f"The {name} is {mask.shape}, but the ground truth {truth.shape}.")
    if ignored is None:
        return prediction, truth
    return prediction & ~ignored, truth & ~ignored


RIGHT_OVERLAP = 0.5
"""J above which a prediction counts as the right object."""


def region_similarity(
    prediction: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None = None
) -> float:
    """J of DAVIS: intersection over union of two masks, 0 to 1.

    Args:
        prediction, truth: (H, W) bool.
        ignored: (H, W) bool, ignore mask; none by default.

    Returns:
        Intersection over union without ignored pixels; 1 if both are empty.

    Raises:
        ImageError: the sizes differ, or an array is not boolean.
    """
    prediction, truth = without_ignored(prediction, truth, ignored)
    return mask_overlap(prediction, truth)


TOLERANCE = 0.008
"""Distance up to which two boundaries match, as a fraction of the image's diagonal."""


def boundary_accuracy(
    prediction: np.ndarray, truth: np.ndarray, ignored: np.ndarray | None = None
) -> float:
    """F of DAVIS: harmonic mean of the boundaries' precision and recall, 0 to 1.

    A boundary pixel matches if the other boundary is within 0.8 % of the image's diagonal, rounded
    up to whole pixels (a disk, as in Perazzi et al., CVPR 2016, section 4; the DAVIS code's
    approximation of the matching of Martin et al., PAMI 2004).

    Args:
        prediction, truth: (H, W) bool.
        ignored: (H, W) bool, ignore mask, removed from both masks before boundaries are computed;
            none by default.

    Returns:
        1 if neither mask has a boundary (a mask of all pixels has none), 0 if only one has.

    Raises:
        ImageError: the sizes differ, or an array is not boolean.
    """
    prediction, truth = without_ignored(prediction, truth, ignored)
    predicted, true = boundary(prediction), boundary(truth)
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    radius = math.ceil(TOLERANCE * math.hypot(*truth.shape))
    precision = fraction_within(predicted, true, radius)
    recall = fraction_within(true, predicted, radius)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def boundary(mask: np.ndarray) -> np.ndarray:
    """Boundary of an (H, W) bool mask: pixels that differ from the right, lower or diagonal one.

    The mask is extended beyond the image by its edge values, so the border is not a boundary.
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ diagonal)


def fraction_within(points: np.ndarray, others: np.ndarray, radius: float) -> float:
    """Fraction of the pixels of one (H, W) bool array within a radius of those of another.

    Both must have at least one pixel. Equivalent to dilation by a disk, at a cost independent of
    the radius.
    """
    distances = cv2.distanceTransform((~others).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squared distances are integers, which releases of OpenCV round differently.
    limit = math.sqrt(math.floor(radius**2) + 0.5)
    return int(np.count_nonzero(distances[points] < limit)) / int(np.count_nonzero(points))


RECALL_THRESHOLD = 0.5
PARTS = 4


@dataclass(frozen=True)
class SequenceStatistics:
    """Statistics of a frame metric over a sequence, as defined by DAVIS.

    Attributes:
        mean: over the frames.
        recall: fraction of the frames above 0.5.
        decay: mean of the first quarter of the frames minus that of the last.
    """

    mean: float
    recall: float
    decay: float


def sequence_statistics(values: Sequence[float]) -> SequenceStatistics:
    """Statistics of the values of a sequence's frames, in order.

    Quarters share their end frames, as in the DAVIS code: their bounds are 0, 1/4, 1/2, 3/4 and
    1 of the last index, rounded half up. DAVIS leaves out a sequence's first and last frame; that
    is up to the caller.

    Args:
        values: at least one value.

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


MEASURES = ("region", "boundary")


def total_of_tracks(tracks: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean, recall and decay of J and F, averaged over tracks; None without tracks.

    Args:
        tracks: per track "region" and "boundary", the values of its evaluated frames in order.

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
    """The unweighted mean of several totals; None without totals."""
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
