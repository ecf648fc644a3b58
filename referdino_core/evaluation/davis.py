# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The measures of DAVIS: region similarity J, boundary accuracy F, and statistics of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from referdino_core.errors import ImageError

ABSENT_AREA = 15
"""Judged pixels of ground truth below which an object counts as absent from a frame."""


def judged(
    prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Two (H, W) bool masks without the pixels of `void`, which leave both.

    Raises:
        ImageError: the sizes differ, or an array is not boolean.
    """
    given = {"prediction": prediction, "truth": truth}
    if void is not None:
        given["void"] = void
    for name, mask in given.items():
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ImageError(f"The {name} must be (H, W) bool, not {mask.shape} {mask.dtype}.")
        if mask.shape != truth.shape:
            raise ImageError(f"The {name} is {mask.shape}, but the truth is {truth.shape}.")
    if void is None:
        return prediction, truth
    return prediction & ~void, truth & ~void


RIGHT_OVERLAP = 0.5
"""J above which the right object counts as picked."""


def region_similarity(
    prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None
) -> float:
    """J of DAVIS: intersection over union of two masks, 0 to 1.

    Args:
        prediction, truth: (H, W) bool.
        void: (H, W) bool, pixels that are not judged; none by default.

    Returns:
        Intersection over union of what is judged; 1 where both are empty.

    Raises:
        ImageError: the sizes differ, or an array is not boolean.
    """
    prediction, truth = judged(prediction, truth, void)
    union = int(np.count_nonzero(prediction | truth))
    if union == 0:
        return 1.0
    return int(np.count_nonzero(prediction & truth)) / union


TOLERANCE = 0.008
"""Distance up to which two boundaries match, as a share of the image's diagonal."""


def boundary_accuracy(
    prediction: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None
) -> float:
    """F of DAVIS: harmonic mean of the boundaries' precision and recall, 0 to 1.

    A pixel of a boundary matches where the other boundary comes within 0.8 % of the image's
    diagonal, rounded up to whole pixels (a disk, as in Perazzi et al., CVPR 2016, section 4; the
    DAVIS code's stand-in for the matching of Martin et al., PAMI 2004).

    Args:
        prediction, truth: (H, W) bool.
        void: (H, W) bool, pixels that are not judged and leave both masks before boundaries are
            drawn; none by default.

    Returns:
        1 where neither mask has a boundary (which a mask of all pixels has not), 0 where one has.

    Raises:
        ImageError: the sizes differ, or an array is not boolean.
    """
    prediction, truth = judged(prediction, truth, void)
    answered, meant = boundary(prediction), boundary(truth)
    if not answered.any() or not meant.any():
        return float(answered.any() == meant.any())
    radius = math.ceil(TOLERANCE * math.hypot(*truth.shape))
    precision = share_within(answered, meant, radius)
    recall = share_within(meant, answered, radius)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of an (H, W) bool mask that differ from the one to the right, below, or both.

    Beyond the border the mask goes on as it ends, so the border itself is no boundary.
    """
    beyond = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    return (mask ^ right) | (mask ^ below) | (mask ^ diagonal)


def share_within(points: np.ndarray, others: np.ndarray, radius: float) -> float:
    """Share of the pixels in one (H, W) bool array that lie within a radius of some in another.

    Both hold at least one pixel. The same as dilation by a disk, at a cost that does not grow
    with the radius.
    """
    distances = cv2.distanceTransform((~others).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Their squares are whole numbers, which releases of OpenCV round in different ways.
    limit = math.sqrt(math.floor(radius**2) + 0.5)
    return int(np.count_nonzero(distances[points] < limit)) / int(np.count_nonzero(points))


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
