# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Image files: decoding, with a check for truncation, and folders of images as frame sources."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.media.frame_source import Frame, FrameSource
from referdino_core.media.other_recordings import recording_of_ros
from referdino_core.messages.compressed_images import is_truncated
from referdino_core.user_files import visible_entries

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_logger = logging.getLogger("referdino.media")


def decode(data: bytes) -> np.ndarray:
    """Decode a JPEG, PNG, WebP or BMP file held in memory to RGB (H, W, 3) uint8.

    Grey images become three channels, transparency is dropped, and 16-bit samples are reduced to
    8 bits.

    Raises:
        ImageError: the data is empty, truncated or no image.
    """
    if not data:
        raise ImageError("The image is empty.")
    kind = is_truncated(data)
    if kind:
        raise ImageError(f"The {kind} image is cut off after {len(data)} bytes.")
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise ImageError(
            f"The {len(data)} bytes are not a complete image of a known format "
            "(JPEG, PNG, WebP, BMP)."
        )
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def read_image(path: Path) -> np.ndarray:
    """Read an image file to RGB (H, W, 3) uint8.

    Raises:
        ImageError: the file cannot be read or is not a complete image; the message names it.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error
    except ImageError as error:
        raise ImageError(f"{path} cannot be read: {error}") from error


class ImageFiles(FrameSource):
    """Image files in the given order, one frame period apart; unreadable ones are skipped.

    Attributes:
        paths: the files; the index of a frame is its position among them.
    """

    def __init__(self, paths: Sequence[Path], description: str, frame_rate: float) -> None:
        self.description = description
        self.frame_rate = frame_rate
        self.frame_count = len(paths)
        self.paths = tuple(paths)

    def __iter__(self) -> Iterator[Frame]:
        last_error: ImageError | None = None
        read_count = 0
        for index, path in enumerate(self.paths):
            try:
                image = read_image(path)
            except ImageError as error:
                _logger.warning("Image skipped: %s", error)
                last_error = error
                continue
            read_count += 1
            yield Frame(image, index / self.frame_rate, index)
        if read_count == 0:
            raise SourceError(f"None of the images of {self.description} can be read: {last_error}")

    def close(self) -> None:
        """Nothing stays open between two images."""


def images_in(folder: Path) -> list[Path]:
    """The images of a folder in natural order: frame2 before frame10.

    Hidden files are left out, such as the ._x.png that macOS leaves next to x.png.

    Raises:
        SourceError: there is none, or the folder cannot be read.
    """
    try:
        images = [path for path in visible_entries(folder) if is_image(path)]
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error
    if not images:
        what = recording_of_ros(folder) or f"contains no images ({', '.join(IMAGE_SUFFIXES)})"
        raise SourceError(f"{folder} {what}.")
    return sorted(images, key=_natural_order)


def is_image(path: Path) -> bool:
    """Whether the name has the suffix of an image file."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.findall(r"\d+|\D+", path.name.lower())
    order = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return order, path.name
