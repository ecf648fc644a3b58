# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images in metres, from the two encodings that REP 118 allows."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from referdino_core.errors import ImageError

DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")
"""Unsigned millimetres under two names, where 0 is invalid, and floating-point metres."""


class DepthMessage(Protocol):
    """The fields of a depth `sensor_msgs/Image` that are read; `data` is a buffer of bytes."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def metres(values: np.ndarray, encoding: str) -> np.ndarray:
    """Depths in metres.

    Args:
        values: (H, W) uint16 millimetres, or floating-point metres.
        encoding: one of `DEPTH_ENCODINGS`.

    Returns:
        (H, W) float32, NaN where invalid: 0, below zero, infinite or NaN.

    Raises:
        ImageError: the encoding is no depth, or not that of the values.
    """
    if encoding not in DEPTH_ENCODINGS:
        raise ImageError(
            f"The encoding {encoding!r} is not depth. Subscribe to a depth image of encoding "
            "16UC1 (millimetres) or 32FC1 (metres) that is aligned to the colour image."
        )
    whole = encoding != "32FC1"
    if values.ndim != 2 or np.issubdtype(values.dtype, np.floating) == whole:
        raise ImageError(f"Depth of {encoding} cannot be an array {values.shape} {values.dtype}.")
    depth = values.astype(np.float32)
    if whole:
        depth *= np.float32(0.001)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def depth_from_message(message: DepthMessage) -> np.ndarray:
    """Depths of an image message, (H, W) float32 metres, NaN where invalid; rows may be padded.

    Raises:
        ImageError: the encoding is no depth, a size is zero, or the data does not fit the size.
    """
    wide = 4 if message.encoding == "32FC1" else 2
    row = message.width * wide
    if message.encoding in DEPTH_ENCODINGS:
        _check_size(message, row)
    else:
        metres(np.zeros((1, 1), np.uint16), message.encoding)
    order = ">" if message.is_bigendian else "<"
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    kind = "f4" if wide == 4 else "u2"
    return metres(np.ascontiguousarray(rows).view(f"{order}{kind}"), message.encoding)


def _check_size(message: DepthMessage, row: int) -> None:
    size = len(message.data)
    if message.height < 1 or message.width < 1:
        raise ImageError(
            f"The depth image has no pixels: it is {message.width}x{message.height}. "
            "Check the camera driver."
        )
    if message.step < row or size != message.step * message.height:
        raise ImageError(
            f"The depth image's data does not fit its size: {size} bytes in rows of "
            f"{message.step} for {message.width}x{message.height} of {message.encoding}. "
            "Check the camera driver."
        )
