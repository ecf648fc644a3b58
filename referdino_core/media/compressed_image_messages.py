# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed camera messages to RGB arrays and back: `sensor_msgs/CompressedImage`.

Older versions of OpenCV fill what is missing of a truncated JPEG or PNG with grey and say nothing,
so the end of the picture is looked for before it is decoded.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import cv2
import numpy as np

from referdino_core.errors import ImageError


class CompressedImage(Protocol):
    """The fields of `sensor_msgs/CompressedImage` that are read; `data` is a buffer of bytes."""

    format: str
    data: Any


JPEG_FORMAT = "rgb8; jpeg compressed bgr8"
"""What image_transport calls a JPEG of colour pixels."""

_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"

# Inside entropy-coded data 0xff is followed by a stuffed zero or is a restart marker;
# any other marker ends the scan (ITU-T T.81, section B.1.1).
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def compressed_image_to_rgb(message: CompressedImage) -> np.ndarray:
    """Pixels of a compressed image message, in the orientation of the sensor.

    Args:
        message: a `sensor_msgs/CompressedImage` that holds a JPEG, a PNG or another picture that
            OpenCV reads.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ImageError: there is no data, the picture is truncated, or it cannot be decoded.
    """
    data = bytes(message.data)
    if not data:
        raise ImageError("The compressed image has no data. Check the camera driver.")
    if "compressedDepth" in message.format:
        raise ImageError(
            f"The image holds depth (format {message.format!r}), not colour. "
            "Subscribe to the compressed colour image of the camera."
        )
    if _is_truncated(data):
        raise ImageError(
            f"The compressed image is truncated: its {len(data)} bytes stop before the end of the "
            f"picture (format {message.format!r}). Check the connection to the camera."
        )
    bgr = _decode(data)
    if bgr is None:
        raise ImageError(
            f"The {len(data)} bytes of the compressed image (format {message.format!r}) are no "
            "picture that OpenCV can decode. Let the camera publish jpeg or png."
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, bgr)


def jpeg_of(pixels: np.ndarray, quality: int) -> np.ndarray:
    """The bytes, (N,) uint8, of a JPEG of (H, W, 3) uint8 RGB pixels.

    Args:
        quality: 1 to 100.

    Raises:
        ImageError: OpenCV cannot encode this size.
    """
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    encoded, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        height, width = pixels.shape[:2]
        raise ImageError(f"OpenCV cannot encode a {width}x{height} image as JPEG.")
    return jpeg.reshape(-1)


def _decode(data: bytes) -> np.ndarray | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _is_truncated(data: bytes) -> bool:
    if data.startswith(_JPEG_START):
        return not _has_jpeg_end(data)
    if data.startswith(_PNG_START):
        return _PNG_END not in data
    return False


def _has_jpeg_end(data: bytes) -> bool:
    """Whether the end marker follows the scans; one inside an embedded thumbnail does not count."""
    position = len(_JPEG_START)
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte before a marker
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker != _START_OF_SCAN:
            continue
        found = _MARKER_AFTER_SCAN.search(data, position)
        if found is None:
            return False
        if data[found.start() + 1] == _END_OF_IMAGE:
            return True
        position = found.start()
    return False
