# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of `sensor_msgs/Image` to RGB arrays, for messages of rclpy or of a bag.

Only the fields of a message are used, so ROS is not needed. Rows may be padded: `step` is honoured,
and so is `is_bigendian` for samples of two bytes.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np

from referdino_core.errors import ImageError
from referdino_core.messages.image_encodings import (
    PACKED,
    SEMI_PLANAR,
    Packed,
    refusal,
    warn_once,
)

SMALLEST_MOSAIC = 3


class Image(Protocol):
    """The fields of `sensor_msgs/Image` that are read; `data` is a buffer of bytes."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def image_to_rgb(message: Image) -> np.ndarray:
    """Pixels of an image message.

    Args:
        message: a `sensor_msgs/Image` of any encoding in `ENCODINGS`.

    Returns:
        (H, W, 3) uint8 RGB. For rgb8 a view of the message's data, which may have padded rows;
        otherwise a new array. For nv12 and nv21, H is that of the image, even if the message
        counts the rows of both planes.

    Raises:
        ImageError: the encoding is not that of a colour image, a size is zero, or the data does
            not match size and step.
    """
    encoding = message.encoding
    refused = refusal(encoding)
    if refused is not None:
        raise ImageError(refused)
    if message.height == 0 or message.width == 0:
        raise ImageError(
            f"The image has no pixels: it is {message.width}x{message.height}. "
            "Check the camera driver."
        )
    if encoding in SEMI_PLANAR:
        return _semi_planar_to_rgb(message)
    layout = PACKED[encoding]
    if layout.assumed:
        warn_once(
            f"Images come as {encoding}, which does not tell their colours; they are read as "
            f"{layout.assumed}. Configure the publisher to name the encoding."
        )
    if len(message.data) != message.step * message.height:
        raise _misfit(message, f"{message.height} rows of {message.step} bytes")
    if layout.shares_columns and message.width % 2:
        raise ImageError(
            f"A {encoding} image must have an even width; this one is {message.width} wide. "
            "Check the camera driver."
        )
    return packed_to_rgb(_samples(message, layout), layout)


def packed_to_rgb(samples: np.ndarray, layout: Packed) -> np.ndarray:
    """(H, W) or (H, W, C) samples of 8 or 16 bits to (H, W, 3) uint8 RGB.

    Raises:
        ImageError: a Bayer mosaic is too small to have colours.
    """
    if samples.dtype == np.uint16:
        samples = to_eight_bits(samples)
    if layout.conversion is None:
        return samples
    height, width = samples.shape[:2]
    if layout.is_mosaic and min(height, width) < SMALLEST_MOSAIC:
        raise ImageError(
            f"A Bayer image must be at least 3x3 pixels; this one is {width}x{height}."
        )
    return cv2.cvtColor(samples, layout.conversion)


def to_eight_bits(samples: np.ndarray) -> np.ndarray:
    """uint16 samples as uint8: the whole range, rounded."""
    return cv2.convertScaleAbs(samples, alpha=255 / 65535).reshape(samples.shape)


def _misfit(message: Image, wanted: str) -> ImageError:
    return ImageError(
        f"The image data does not fit its size: {len(message.data)} bytes for {wanted} "
        f"({message.encoding}). Check the camera driver."
    )


def _samples(message: Image, layout: Packed) -> np.ndarray:
    """The data as (H, W) or (H, W, C) samples without row padding; a view for 8 bits."""
    row = message.width * layout.channels * layout.bits // 8
    if message.step < row:
        raise ImageError(
            f"The image's step does not fit its width: {message.step} bytes a row for "
            f"{message.width} pixels of {message.encoding}, which take {row}. "
            "Check the camera driver."
        )
    samples = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    if layout.bits == 16:
        wide = np.ascontiguousarray(samples).view(">u2" if message.is_bigendian else "<u2")
        samples = wide.astype(np.uint16, copy=False)
    if layout.channels == 1:
        return samples
    return samples.reshape(message.height, message.width, layout.channels)


def _semi_planar_to_rgb(message: Image) -> np.ndarray:
    """RGB of a Y plane and a plane of interleaved U and V with rows of the same length in bytes.

    sensor_msgs lays them out as `height` rows of `step` bytes, followed by half as many rows of the
    same length for nv12 and nv21 (twice as many for nv24). Some publishers count the rows of both
    planes in `height`; others set `step` to the bytes of both planes per image row, with rows of
    `width` bytes.
    """
    height, width, step, size = message.height, message.width, message.step, len(message.data)
    if message.encoding == "nv24":
        return _nv24_to_rgb(message)
    if step * height == size and 2 * step == 3 * width:
        step = width
    elif step * height == size and height % 3 == 0 and 2 * step < 3 * width:
        height = height // 3 * 2
    if step < width or 2 * size != 3 * height * step:
        raise _misfit(
            message,
            f"{height} rows of {step} bytes, and half as many rows of colours, {width} wide",
        )
    if height % 2 or width % 2:
        raise ImageError(
            f"An image of encoding {message.encoding!r} must have an even width and height; this "
            f"one is {width}x{height}. Check the camera driver."
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height // 2 * 3, step)
    return cv2.cvtColor(rows[:, :width], SEMI_PLANAR[message.encoding])


def _nv24_to_rgb(message: Image) -> np.ndarray:
    height, width, step = message.height, message.width, message.step
    if step < width or len(message.data) != 3 * height * step:
        raise _misfit(message, f"three times {height} rows of {step} bytes, {width} wide")
    data = np.frombuffer(message.data, np.uint8)
    light = data[: height * step].reshape(height, step)[:, :width]
    colours = data[height * step :].reshape(height, 2 * step)[:, : 2 * width]
    # OpenCV has 4:4:4 only in full range; so each pixel becomes two that share a colour.
    pairs = np.empty((height, 2 * width, 2), np.uint8)
    pairs[..., 0] = light.repeat(2, axis=1)
    pairs[..., 1] = colours
    return np.ascontiguousarray(cv2.cvtColor(pairs, SEMI_PLANAR["nv24"])[:, ::2])
