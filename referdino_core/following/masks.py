# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Dilation and erosion of masks."""

from __future__ import annotations

import numpy as np


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask with what lies within so many pixels of it, along rows and columns."""
    larger = mask.copy()
    for _ in range(pixels):
        before = larger.copy()
        larger[1:] |= before[:-1]
        larger[:-1] |= before[1:]
        larger[:, 1:] |= before[:, :-1]
        larger[:, :-1] |= before[:, 1:]
    return larger


def eroded(mask: np.ndarray, pixels: int, least: int) -> np.ndarray:
    """The mask without its rim, of as many pixels as leave it `least` pixels."""
    core = mask
    for _ in range(pixels):
        inner = np.zeros_like(core)
        inner[1:-1, 1:-1] = (
            core[1:-1, 1:-1] & core[:-2, 1:-1] & core[2:, 1:-1] & core[1:-1, :-2] & core[1:-1, 2:]
        )
        if inner.sum() < least:
            break
        core = inner
    return core


def touches_border(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether pixels (N,) of an image of a shape reach its border."""
    last_row, last_column = shape[0] - 1, shape[1] - 1
    low = min(rows.min(), columns.min())
    return bool(low == 0 or rows.max() == last_row or columns.max() == last_column)
