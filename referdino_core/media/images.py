# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Image files and encoded images, read in full or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import ImageError

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND"
_START_OF_SCAN = 0xDA
_MARKERS_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def decode(data: bytes) -> np.ndarray:
    """Decode a JPEG, PNG, WebP or BMP file held in memory to RGB (H, W, 3) uint8.

    Grey images are spread over three channels, transparency is dropped, and 16-bit samples are
    reduced to 8 bits.

    Raises:
        ImageError: the data is empty, cut off or no image.
    """
    if not data:
        raise ImageError("The image is empty.")
    if data.startswith(_JPEG_START) and not _jpeg_is_complete(data):
        raise ImageError(f"The JPEG image is cut off after {len(data)} bytes.")
    if data.startswith(_PNG_START) and _PNG_END not in data:
        raise ImageError(f"The PNG image is cut off after {len(data)} bytes.")
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise ImageError(
            f"The {len(data)} bytes are no complete image of a known format (JPEG, PNG, WebP, BMP)."
        )
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def read_image(path: Path) -> np.ndarray:
    """Read an image file to RGB (H, W, 3) uint8.

    Raises:
        ImageError: the file cannot be read or is no whole image; the message names it.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
    except ImageError as error:
        raise ImageError(f"{path} cannot be read: {error}") from error


def _jpeg_is_complete(data: bytes) -> bool:
    """Tell whether the end marker follows the picture data.

    Some decoders fill what is missing of a cut-off JPEG with grey and report success. Segments
    before the picture data are skipped by their length, since a thumbnail in them has an end marker
    of its own.
    """
    position = len(_JPEG_START)
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == _START_OF_SCAN:
            return data.find(_JPEG_END, position) != -1
        if marker == 0xFF:
            position += 1
        elif marker in _MARKERS_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False
