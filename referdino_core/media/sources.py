# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: a video file, images on disk or a camera, all behind one interface."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2

from referdino_core.errors import ImageError, SourceError
from referdino_core.media.frame_source import (
    DEFAULT_FRAME_RATE,
    Frame,
    FrameSource,
    check_frame_rate,
    is_plausible,
)
from referdino_core.media.images import read_image
from referdino_core.media.other_recordings import recording_of_ros, what_is_no_video
from referdino_core.media.video_file import VideoFile
from referdino_core.user_files import visible_entries

__all__ = (
    "IMAGE_SUFFIXES",
    "Camera",
    "Frame",
    "FrameSource",
    "ImageFiles",
    "VideoFile",
    "check_frame_rate",
    "images_in",
    "is_image",
    "open_source",
    "quiet_opencv",
)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")

_SILENT = 0  # OpenCV's log level below fatal errors

_logger = logging.getLogger("referdino.media")


def open_source(source: str, frame_rate: float | None = None) -> FrameSource:
    """Open a video file, a folder of images, one image, or a camera by index ("0") or device file.

    Args:
        source: path or index.
        frame_rate: frames per second, in place of what a video announces; the pace of images in a
            folder, 25 by default.

    Raises:
        SourceError: the source does not exist, holds no video or image, or cannot be opened.
    """
    check_frame_rate(frame_rate)
    path = Path(source)
    if path.is_dir():
        return ImageFiles(images_in(path), str(path), frame_rate or DEFAULT_FRAME_RATE)
    if path.is_char_device():
        return Camera(source, frame_rate)
    if path.is_file():
        if not os.access(path, os.R_OK):
            raise SourceError(f"{path} may not be read; check the permissions of the file.")
        if is_image(path):
            return ImageFiles([path], str(path), frame_rate or DEFAULT_FRAME_RATE)
        return _open_video(path, frame_rate)
    if source.isdecimal():
        return Camera(int(source), frame_rate)
    raise SourceError(
        f"{source} does not exist; give a video file, a folder of images, or a camera index "
        "such as 0."
    )


def quiet_opencv() -> None:
    """Silence what OpenCV prints of its own accord, as it does where a camera cannot be opened.

    For programs that report errors themselves; takes effect for the whole program.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # it may try FFmpeg for a camera
    # OpenCV 5 has moved the function.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_level(_SILENT)


class ImageFiles(FrameSource):
    """Image files in the given order, one frame period apart; those that cannot be read are passed
    over.

    Attributes:
        paths: the files; the index of a frame is its place among them.
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
                _logger.warning("Image passed over: %s", error)
                last_error = error
                continue
            read_count += 1
            yield Frame(image, index / self.frame_rate, index)
        if read_count == 0:
            raise SourceError(f"None of the images of {self.description} can be read: {last_error}")

    def close(self) -> None:
        """Nothing stays open between two images."""


class Camera(FrameSource):
    """A camera of this machine, stamped with the time of arrival from the first frame on.

    Endless: iteration stops only when the camera does or the caller leaves the loop.
    """

    frame_count = None

    def __init__(self, device: int | str, frame_rate: float | None = None) -> None:
        self.description = f"camera {device}"
        self._capture = cv2.VideoCapture(device)
        if self._capture.isOpened() and frame_rate is not None:
            self._capture.set(cv2.CAP_PROP_FPS, frame_rate)
        opened, first_image = self._capture.read() if self._capture.isOpened() else (False, None)
        if not opened:
            self._capture.release()
            raise SourceError(
                f"{self.description} cannot be opened; check that it is plugged in, not in use by "
                "another program, and that you may read its /dev/video file."
            )
        self._next_image = first_image
        announced_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = announced_rate if is_plausible(announced_rate) else DEFAULT_FRAME_RATE

    def __iter__(self) -> Iterator[Frame]:
        start = time.monotonic()
        index, stamp = 0, 0.0
        while self._next_image is not None:
            yield Frame(cv2.cvtColor(self._next_image, cv2.COLOR_BGR2RGB), stamp, index)
            readable, next_image = self._capture.read()
            self._next_image = next_image if readable else None
            index += 1
            stamp = time.monotonic() - start
        _logger.warning("%s delivers no more images after frame %d.", self.description, index)

    def close(self) -> None:
        self._next_image = None
        self._capture.release()


def images_in(folder: Path) -> list[Path]:
    """The images of a folder in the order a person would count them: frame2 before frame10.

    Hidden files are none of them, such as the ._x.png that macOS leaves beside x.png.

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
    """Whether the name is that of an image file."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _open_video(path: Path, frame_rate: float | None) -> VideoFile:
    what = what_is_no_video(path)
    if what:
        raise SourceError(f"{path} {what}.")
    return VideoFile(path, frame_rate)


def _natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.findall(r"\d+|\D+", path.name.lower())
    order = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return order, path.name
