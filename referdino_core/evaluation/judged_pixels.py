# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What of two masks is compared."""

from __future__ import annotations

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
