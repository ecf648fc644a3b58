# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Raw camera messages to RGB arrays: `sensor_msgs/Image` of rclpy, or of a recording.

Only the fields of a message are used, so nothing of ROS is needed.

Rows may be padded: `step` is honoured. Every encoding read here has one byte per sample, so
`is_bigendian` has no bearing; encodings with wider samples go through cv_bridge, which swaps bytes.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np

from referdino_core.errors import ImageError


class Image(Protocol):
    """The fields of `sensor_msgs/Image` that are read; `data` is a buffer of bytes."""

    height: int
    width: int
    encoding: str
    step: int
    data: Any


# OpenCV names a Bayer pattern by the second and third pixel of the second row,
# ROS by the first two pixels of the first two rows.
_CONVERSIONS: dict[str, tuple[int, int]] = {
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
}
_SUBSAMPLED = frozenset({"yuv422", "uyvy", "yuv422_yuy2", "yuyv"})

ENCODINGS = ("rgb8", *_CONVERSIONS)
"""Encodings that are converted without cv_bridge."""


def image_to_rgb(message: Image) -> np.ndarray:
    """Pixels of an image message.

    Args:
        message: a `sensor_msgs/Image` of any encoding in `ENCODINGS`, or of one that cv_bridge
            converts where it is installed.

    Returns:
        (H, W, 3) uint8 RGB. For rgb8 a view of the message's data, which may have padded rows;
        otherwise a new array.

    Raises:
        ImageError: a size is zero, the data does not fit size and step, or the encoding is not
            known.
    """
    _check_size(message)
    if message.encoding == "rgb8":
        return _samples(message, channels=3)
    if message.encoding in _CONVERSIONS:
        channels, conversion = _CONVERSIONS[message.encoding]
        if message.encoding in _SUBSAMPLED and message.width % 2:
            raise ImageError(
                f"A {message.encoding} image must have an even width; this one is "
                f"{message.width} wide. Check the camera driver."
            )
        return cv2.cvtColor(_samples(message, channels), conversion)
    return _through_cv_bridge(message)


def _check_size(message: Image) -> None:
    if message.height == 0 or message.width == 0:
        raise ImageError(
            f"The image has no pixels: it is {message.width}x{message.height}. "
            "Check the camera driver."
        )
    if len(message.data) != message.step * message.height:
        raise ImageError(
            f"The image data does not fit its size: {len(message.data)} bytes for "
            f"{message.height} rows of {message.step} bytes. Check the camera driver."
        )


def _samples(message: Image, channels: int) -> np.ndarray:
    """View of the data as (H, W) or (H, W, channels) uint8 without the padding of the rows."""
    row = message.width * channels
    if message.step < row:
        raise ImageError(
            f"The image's step does not fit its width: {message.step} bytes a row for "
            f"{message.width} pixels of {message.encoding}, which take {row}. "
            "Check the camera driver."
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    return rows if channels == 1 else rows.reshape(message.height, message.width, channels)


def _through_cv_bridge(message: Image) -> np.ndarray:
    encoding = message.encoding
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError) as error:  # AttributeError: built for another NumPy
        raise ImageError(
            f"Images of encoding {encoding!r} need cv_bridge, which cannot be imported here "
            f"({str(error).splitlines()[0]}). Install it (ros-<distribution>-cv-bridge), or let "
            f"the camera publish one of {', '.join(ENCODINGS)}."
        ) from error
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(message, desired_encoding="rgb8"))
    except Exception as error:  # cv_bridge raises its own error, OpenCV's, or plain ones
        raise ImageError(
            f"cv_bridge cannot convert encoding {encoding!r} to rgb8: {str(error).strip()}. "
            f"Let the camera publish one of {', '.join(ENCODINGS)}."
        ) from error
