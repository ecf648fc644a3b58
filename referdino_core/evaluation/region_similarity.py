# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Region similarity J: how much two masks overlap."""

from __future__ import annotations

import numpy as np

from referdino_core.evaluation.judged_pixels import judged

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
