# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Writing videos, image files and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import ImageError
from referdino_core.media import lettering
from referdino_core.media.partial_file import Output, OutputError, PartialFile

_CODEC = "mp4v"
_SHEET_BACKGROUND = (24, 24, 27)
_SHEET_TEXT = (228, 228, 231)


class VideoWriter(Output):
    """An MPEG-4 video file that appears under its name when it is closed.

    Images of another size than announced are scaled to fit, with black bars. MPEG-4 wants even
    sides: an odd one is extended by repeating its last row or column.
    """

    def __init__(self, path: Path, frame_rate: float, size: tuple[int, int]) -> None:
        """Open the file for images of size (width, height) at `frame_rate` frames per second.

        Raises:
            OutputError: name, size or place are impossible.
        """
        if path.suffix.lower() != ".mp4":
            raise OutputError(f"{path}: the name of a video must end in .mp4.")
        self._width, self._height = size
        if self._width < 1 or self._height < 1:
            raise OutputError(
                f"{path}: a video {self._width} pixels wide and {self._height} high is impossible."
            )
        self._file = PartialFile(path)
        self._video = cv2.VideoWriter(
            str(self._file.growing_path),
            cv2.VideoWriter.fourcc(*_CODEC),
            frame_rate,
            (self._width + self._width % 2, self._height + self._height % 2),
        )
        if not self._video.isOpened():
            self.discard()
            raise OutputError(
                f"{path} cannot be written as video ({_CODEC}, {frame_rate:g} frames per second); "
                "check that the folder is writable."
            )

    def write(self, image: np.ndarray) -> None:
        """Append one image, (H, W, 3) uint8 RGB.

        Raises:
            ImageError: this is no such image.
        """
        _require_image(image)
        fitted = fit(image, self._width, self._height)
        even = cv2.copyMakeBorder(
            fitted, 0, self._height % 2, 0, self._width % 2, borderType=cv2.BORDER_REPLICATE
        )
        self._video.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            OutputError: nothing could be written.
        """
        self._video.release()
        growing_path = self._file.growing_path
        if not growing_path.is_file() or growing_path.stat().st_size == 0:
            raise OutputError(
                f"{self._file.path} could not be written; check the free space of the disk."
            )
        self._file.commit()

    def discard(self) -> None:
        """Give the video up and remove what was written of it."""
        self._video.release()
        self._file.discard()


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image, (H, W, 3) uint8 RGB, in the format of the file's suffix, whole or not at all.

    Raises:
        ImageError: this is no such image.
        OutputError: the format or the place is impossible.
    """
    _require_image(image)
    file = PartialFile(path)
    try:
        written = cv2.imwrite(str(file.growing_path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        written = False
    if not written:
        file.discard()
        raise OutputError(
            f"{path} cannot be written; use a name that ends in .png or .jpg, in a writable folder."
        )
    file.commit()


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, captions: Sequence[str] = ()
) -> np.ndarray:
    """Lay images out row by row on one sheet, each above its caption.

    Args:
        images: (H, W, 3) uint8 RGB, at least one; every cell has the size of the largest.
        columns: cells in a row, at most.
        captions: one per image, or none at all; those that are too long are shortened.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: an image is none.
        ValueError: columns or captions do not fit the images.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one image and one column")
    if captions and len(captions) != len(images):
        raise ValueError(f"{len(images)} images need as many captions, not {len(captions)}")
    for image in images:
        _require_image(image)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cell_height = max(image.shape[0] for image in images)
    cell_width = max(image.shape[1] for image in images)
    letters = lettering.text_height(images[0])
    gap = letters
    strip = 2 * letters if captions else 0
    sheet = np.full(
        (
            rows * (cell_height + strip + gap) + gap,
            columns * (cell_width + gap) + gap,
            3,
        ),
        _SHEET_BACKGROUND,
        np.uint8,
    )
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        top = gap + row * (cell_height + strip + gap)
        left = gap + column * (cell_width + gap)
        sheet[top : top + cell_height, left : left + cell_width] = fit(
            image, cell_width, cell_height, _SHEET_BACKGROUND
        )
        if captions:
            caption = lettering.shorten(captions[position], letters, cell_width)
            baseline = top + cell_height + round(1.6 * letters)
            lettering.write(sheet, caption, left, baseline, letters, _SHEET_TEXT)
    return sheet


def fit(
    image: np.ndarray, width: int, height: int, background: lettering.Colour = (0, 0, 0)
) -> np.ndarray:
    """Scale an image (H, W, 3) uint8 to fit a frame of that width and height, centred, its
    proportions kept.
    """
    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    scaled_width = max(1, round(image.shape[1] * scale))
    scaled_height = max(1, round(image.shape[0] * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(image, (scaled_width, scaled_height), interpolation=interpolation)
    framed = np.full((height, width, 3), background, np.uint8)
    top, left = (height - scaled_height) // 2, (width - scaled_width) // 2
    framed[top : top + scaled_height, left : left + scaled_width] = scaled
    return framed


def _require_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(
            f"An image must be a (height, width, 3) array of uint8, "
            f"not {image.dtype} {image.shape}."
        )
