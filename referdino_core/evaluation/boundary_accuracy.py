# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Boundary accuracy F: how well the outlines of two masks agree."""

from __future__ import annotations

import math

import cv2
import numpy as np

from referdino_core.evaluation.judged_pixels import judged

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
