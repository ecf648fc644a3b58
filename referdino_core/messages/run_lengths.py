# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""COCO run-length encoding of masks."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from referdino_core.errors import ImageError

_LOWEST_CHARACTER = 48  # COCO writes six bits per character, from "0" on
_HIGHEST_CHARACTER = _LOWEST_CHARACTER + 63


def encode(mask: np.ndarray) -> str:
    """Encode a mask (H, W) of bool as COCO's compressed run lengths, in column order.

    Raises:
        ImageError: this is not a two-dimensional array of bool with at least one pixel.
    """
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype != np.bool_:
        found = (
            f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        )
        raise ImageError(f"A mask must be a (height, width) array of bool, not {found}.")
    if mask.size == 0:
        raise ImageError(f"A mask needs at least one pixel, not a size of {mask.shape}.")
    encoded = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
    return encoded["counts"].decode("ascii")


def decode(counts: str, height: int, width: int) -> np.ndarray:
    """Decode COCO's compressed run lengths to a mask (height, width) of bool.

    Raises:
        ImageError: the text is not a run-length code, or its runs do not add up to height * width.
    """
    if height < 1 or width < 1:
        raise ImageError(f"A mask needs at least one pixel, not a size of ({height}, {width}).")
    runs = _run_lengths(counts)
    pixels = sum(runs)
    if pixels != height * width:
        raise ImageError(
            f"The run lengths cover {pixels} pixels, but a mask of height {height} and width "
            f"{width} has {height * width}."
        )
    inside = np.arange(len(runs)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, runs).reshape(width, height).T)


def _run_lengths(counts: str) -> list[int]:
    """The lengths of the runs, starting outside the mask.

    Decoded and checked here, since pycocotools does not validate the text: if it is too short, it
    returns uninitialised memory.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        code = ord(character) - _LOWEST_CHARACTER
        if not 0 <= code <= _HIGHEST_CHARACTER - _LOWEST_CHARACTER:
            raise ImageError(f"Run lengths cannot contain the character {character!r}.")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        if value < 0:
            raise ImageError("Run lengths cannot be negative; the code is damaged.")
        runs.append(value)
        value, shift = 0, 0
    if shift:
        raise ImageError("The run lengths end in the middle of a number; the code is cut off.")
    return runs
