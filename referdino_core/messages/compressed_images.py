# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of `sensor_msgs/CompressedImage` to RGB arrays and back.

Older versions of OpenCV silently fill the missing part of a truncated JPEG or PNG with grey, so the
end of the image is checked before decoding.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import cv2
import numpy as np

from referdino_core.errors import ImageError
from referdino_core.messages.image_encodings import (
    PACKED,
    Packed,
    holds_numbers,
    refusal,
    warn_once,
)
from referdino_core.messages.images import packed_to_rgb


class CompressedImage(Protocol):
    """The fields of `sensor_msgs/CompressedImage` that are read; `data` is a buffer of bytes."""

    format: str
    data: Any


JPEG_FORMAT = "rgb8; jpeg compressed bgr8"
"""The `format` that image_transport writes for a JPEG colour image."""

_COMPRESSION = re.compile(r"(\w+) compressed *(\w*)")
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
        message: a `sensor_msgs/CompressedImage` with a JPEG, a PNG or another image that OpenCV
            reads. Its format names the encoding of the image that was compressed; a grey image of
            a Bayer encoding is the mosaic.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ImageError: there is no data, the image is truncated or cannot be decoded, or it is not a
            colour image.
    """
    data = bytes(message.data)
    if not data:
        raise ImageError("The compressed image has no data. Check the camera driver.")
    encoding, compression, target = _parts_of(message.format)
    if "compressedDepth" in message.format:
        raise ImageError(
            f"The image holds depth (format {message.format!r}), not colour. "
            "Subscribe to the compressed colour image of the camera."
        )
    if holds_numbers(encoding):
        raise ImageError(f"{refusal(encoding)} (The format of the image: {message.format!r}.)")
    if is_truncated(data):
        raise ImageError(
            f"The compressed image is truncated: its {len(data)} bytes stop before the end of the "
            f"image (format {message.format!r}). Check the connection to the camera."
        )
    image = _decode(data)
    if image is None:
        raise ImageError(
            f"OpenCV cannot decode the {len(data)} bytes of the compressed image "
            f"(format {message.format!r}). Configure the camera to publish jpeg or png."
        )
    _refuse_numbers(image, encoding, message.format)
    layout = _layout_of(image, encoding, compression, target)
    return packed_to_rgb(image, layout)


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


def _parts_of(text: str) -> tuple[str, str, str]:
    """Encoding of the raw image, compression, and compressed encoding; "" if not stated.

    compressed_image_transport writes "bgr8; jpeg compressed bgr8"; others name the encoding or the
    compression alone.
    """
    encoding, _, rest = text.partition(";")
    found = _COMPRESSION.fullmatch(rest.strip())
    return encoding.strip(), found[1] if found else "", found[2] if found else ""


def _decode(data: bytes) -> np.ndarray | None:
    """(H, W) grey or (H, W, 3) BGR samples as they were compressed."""
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _refuse_numbers(image: np.ndarray, encoding: str, text: str) -> None:
    """Raise ImageError for an image that holds no colours."""
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"The compressed image (format {text!r}) holds {image.dtype} numbers, not colours. "
            "Subscribe to the compressed colour image of the camera."
        )
    if image.dtype == np.uint16 and image.ndim == 2 and encoding not in PACKED:
        raise ImageError(
            f"The compressed image holds one 16-bit value per pixel, and its format {text!r} does "
            "not say what that is. Depth is not supported; if it is grey, the publisher must set "
            "the format 'mono16; png compressed'."
        )


def _layout_of(image: np.ndarray, encoding: str, compression: str, target: str) -> Packed:
    """The layout of the samples of a decoded image."""
    if image.ndim == 3:
        # compressed_image_transport writes TIFF in the order of the raw image.
        is_rgb = compression == "tiff" and encoding.startswith("rgb")
        return PACKED["rgb8" if is_rgb else "bgr8"]
    layout = PACKED.get(encoding)
    if layout is None or not layout.is_mosaic:
        return PACKED["mono8"]
    if target.startswith("mono"):
        warn_once(
            f"The publisher converts its {encoding} images to grey before compression; their "
            "colours are lost. Subscribe to the raw image, or configure it to publish colours."
        )
        return PACKED["mono8"]
    return layout


def is_truncated(data: bytes) -> str:
    """The format of a truncated image, "JPEG" or "PNG"; "" for complete images and other formats.

    Segments are skipped by their length, since an embedded thumbnail has an end marker of its own.
    """
    if data.startswith(_JPEG_START) and not _has_jpeg_end(data):
        return "JPEG"
    if data.startswith(_PNG_START) and _PNG_END not in data:
        return "PNG"
    return ""


def _has_jpeg_end(data: bytes) -> bool:
    """Whether the end marker follows the scans, not just inside an embedded thumbnail."""
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
