# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Measures of one frame."""

from __future__ import annotations

import numpy as np

RIGHT_OVERLAP = 0.5
"""Mean J above which the right object counts as picked."""


def region_similarity(prediction: np.ndarray, truth: np.ndarray) -> float:
    """J: intersection over union of two (H, W) bool masks; 1 where both are empty."""
    union = int(np.count_nonzero(prediction | truth))
    if union == 0:
        return 1.0
    return int(np.count_nonzero(prediction & truth)) / union
