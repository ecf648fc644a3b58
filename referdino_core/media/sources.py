# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Opening of frame sources: a video file, images on disk or a camera."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from referdino_core.errors import SourceError
from referdino_core.media.frame_source import (
    DEFAULT_FRAME_RATE,
    Frame,
    FrameSource,
    check_frame_rate,
    is_plausible,
)
from referdino_core.media.image_files import ImageFiles, images_in, is_image
from referdino_core.media.other_recordings import what_is_no_video
from referdino_core.media.video_file import VideoFile

__all__ = (
    "Camera",
    "Frame",
    "FrameSource",
    "VideoFile",
    "open_source",
    "quiet_opencv",
)


_SILENT = 0  # OpenCV's log level below fatal errors

_logger = logging.getLogger("referdino.media")


def open_source(source: str, frame_rate: float | None = None) -> FrameSource:
    """Open a video file, a folder of images, one image, or a camera by index ("0") or device file.

    Args:
        source: path or index.
        frame_rate: overrides the frame rate of a video; sets that of images, 25 by default.

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
    """Silence OpenCV's own output, such as when a camera cannot be opened.

    For programs that report errors themselves; takes effect for the whole process.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # it may try FFmpeg for a camera
    # OpenCV 5 has moved the function.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_level(_SILENT)


class Camera(FrameSource):
    """A camera of this machine; stamps are arrival times since the first frame.

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


def _open_video(path: Path, frame_rate: float | None) -> VideoFile:
    what = what_is_no_video(path)
    if what:
        raise SourceError(f"{path} {what}.")
    return VideoFile(path, frame_rate)
