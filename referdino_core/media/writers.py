# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Writers of videos, image files and contact sheets."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import ImageError
from referdino_core.files import AtomicFile, Output, OutputError
from referdino_core.media import text_drawing
from referdino_core.media.video_encoder import (
    LONGEST_SIDE,
    MP4_ENCODERS,
    EncoderError,
    VideoEncoder,
)

_SHEET_BACKGROUND = (24, 24, 27)
_SHEET_TEXT = (228, 228, 231)

_logger = logging.getLogger("referdino.media")


class VideoWriter(Output):
    """An H.264 video in an .mp4 file that appears under its name when it is closed.

    It is MPEG-4 part 2 if FFmpeg lacks an encoder for H.264. Images of another size than announced
    are scaled to fit, with black bars, and so are all images that exceed the encoders' limit. An
    odd side is extended by repeating its last row or column.
    """

    def __init__(self, path: Path, frame_rate: float, size: tuple[int, int]) -> None:
        """Open the file for images of size (width, height) at `frame_rate` frames per second.

        Raises:
            EncoderError: no encoder can produce such a video.
            OutputError: name, size or location are invalid.
        """
        if path.suffix.lower() != ".mp4":
            raise OutputError(f"{path}: the name of a video must end in .mp4.")
        width, height = size
        if width < 1 or height < 1:
            raise OutputError(
                f"{path}: a video {width} pixels wide and {height} high is impossible."
            )
        scale = min(1.0, LONGEST_SIDE / max(width, height))
        self._width, self._height = max(1, round(scale * width)), max(1, round(scale * height))
        self._file = AtomicFile(path)
        size = (self._width, self._height)
        try:
            with self._errors_with_path():
                self._video = VideoEncoder(
                    self._file.temporary_path, "mp4", MP4_ENCODERS, frame_rate, size
                )
        except OutputError:
            self._file.discard()
            raise

    def write(self, image: np.ndarray) -> None:
        """Append one image, (H, W, 3) uint8 RGB.

        Raises:
            ImageError: the image is invalid.
            EncoderError: the encoder does not take it.
            OutputError: the disk does not take it.
        """
        _require_image(image)
        fitted = fit(image, self._width, self._height)
        with self._errors_with_path():
            self._video.write(fitted)

    def finish(self) -> None:
        """Write the rest of the video, still under the temporary name.

        Raises:
            OutputError: it cannot be written.
        """
        with self._errors_with_path():
            self._video.finish()

    def commit(self) -> None:
        """Rename the finished video to its final name.

        Raises:
            OutputError: it cannot be renamed.
        """
        self._file.commit()

    def discard(self) -> None:
        """Discard the video and remove what was written of it."""
        self._video.abandon()
        self._file.discard()

    @contextmanager
    def _errors_with_path(self) -> Iterator[None]:
        """Convert errors into ones that name the video."""
        path = self._file.path
        try:
            yield
        except EncoderError as error:
            raise EncoderError(f"{path} cannot be written as a video: {error}") from error
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error


class OptionalVideo(Output):
    """A video that is dropped, with a warning, if no encoder can produce it.

    Errors of the disk are raised nevertheless.

    Attributes:
        path: of the video.
        problem: why it was dropped; "" otherwise.
    """

    def __init__(self, path: Path, frame_rate: float, size: tuple[int, int]) -> None:
        """Open the file; see `VideoWriter`.

        Raises:
            OutputError: name, size or location are invalid.
        """
        self.path = path
        self.problem = ""
        self._video: VideoWriter | None = None
        with self._optional():
            self._video = VideoWriter(path, frame_rate, size)

    def write(self, image: np.ndarray) -> None:
        """Append one image, (H, W, 3) uint8 RGB.

        Raises:
            ImageError: the image is invalid.
            OutputError: the disk does not take it.
        """
        if self._video is not None:
            with self._optional():
                self._video.write(image)

    def finish(self) -> None:
        """Write the rest of the video, still under the temporary name.

        Raises:
            OutputError: the disk does not take it.
        """
        if self._video is not None:
            with self._optional():
                self._video.finish()

    def commit(self) -> None:
        """Rename the video to its final name; if it was dropped, remove an earlier video.

        Raises:
            OutputError: the folder cannot be written.
        """
        if self._video is not None:
            self._video.commit()
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be removed: {error.strerror}.") from error

    def discard(self) -> None:
        """Discard the video and remove what was written of it."""
        if self._video is not None:
            self._video.discard()

    @contextmanager
    def _optional(self) -> Iterator[None]:
        try:
            yield
        except EncoderError as error:
            self.discard()
            self._video = None
            self.problem = f"{error} Everything else is kept."
            _logger.warning("%s", self.problem)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image, (H, W, 3) uint8 RGB, atomically, in the format of the file's suffix.

    Raises:
        ImageError: the image is invalid.
        OutputError: format or location are invalid.
    """
    _require_image(image)
    try:
        written, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        written = False
    if not written:
        raise OutputError(f"{path} cannot be written; use a name that ends in .png or .jpg.")
    AtomicFile(path).write(encoded.tobytes())


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, captions: Sequence[str] = ()
) -> np.ndarray:
    """Arrange images row by row on one sheet, each above its caption.

    Args:
        images: (H, W, 3) uint8 RGB, at least one; every cell has the size of the largest.
        columns: maximum number of cells in a row.
        captions: one per image, or none; long ones are shortened.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: an image is invalid.
        ValueError: columns or captions do not match the images.
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
    letters = text_drawing.text_height(images[0])
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
            caption = text_drawing.shorten(captions[position], letters, cell_width)
            baseline = top + cell_height + round(1.6 * letters)
            text_drawing.write(sheet, caption, left, baseline, letters, _SHEET_TEXT)
    return sheet


def fit(
    image: np.ndarray, width: int, height: int, background: text_drawing.Colour = (0, 0, 0)
) -> np.ndarray:
    """Scale an image (H, W, 3) uint8 to fit a frame of that size, centred, keeping proportions."""
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
