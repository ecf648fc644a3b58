# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: a video file, images on disk or a camera, all behind one interface."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.media.images import read_image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
DEFAULT_FRAME_RATE = 25.0  # frames per second, where the source does not tell
HIGHEST_FRAME_RATE = 1000.0
LATEST_START = 1e9  # seconds; a container without times may claim to start aeons ago

_SILENT = 0  # OpenCV's log level below fatal errors
_TEXT_AS_PICTURE = cv2.VideoWriter.fourcc(*"ansi")  # how FFmpeg reads the text of a .txt file

_logger = logging.getLogger("referdino.media")


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        stamp: seconds; the first frame of a source is at or near 0, and stamps only ever grow.
        index: place in the source, from 0; images that could not be read leave a gap.
    """

    image: np.ndarray
    stamp: float
    index: int


class FrameSource(ABC):
    """A stream of frames that is opened once and read once, from front to back.

    Attributes:
        description: what is being read, for messages.
        frame_rate: frames per second, greater than 0.
        frame_count: how many frames are announced, or None where nobody can know.
        problem: what was found wrong while reading, or an empty text.
    """

    description: str
    frame_rate: float
    frame_count: int | None
    problem: str = ""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            SourceError: not a single one can be read.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file or device; may be called more than once."""

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


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
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return ImageFiles([path], str(path), frame_rate or DEFAULT_FRAME_RATE)
        return VideoFile(path, frame_rate)
    if source.isdecimal():
        return Camera(int(source), frame_rate)
    raise SourceError(
        f"{source} does not exist; give a video file, a folder of images, or a camera index "
        "such as 0."
    )


def check_frame_rate(frame_rate: float | None) -> None:
    """Raise SourceError for frames per second that cannot be; None stands for none given."""
    if frame_rate is not None and not _is_plausible(frame_rate):
        raise SourceError(
            f"A frame rate of {frame_rate} is impossible; give more than 0 and at most "
            f"{HIGHEST_FRAME_RATE:.0f} frames per second."
        )


def quiet_opencv() -> None:
    """Silence what OpenCV and FFmpeg print of their own accord.

    For programs that report errors themselves; takes effect for the whole program. FFmpeg reads
    its level when the first video is opened.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # OpenCV 5 has moved the function.
    set_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_level(_SILENT)


class VideoFile(FrameSource):
    """The frames of a video file, stamped with the times its container gives them."""

    def __init__(self, path: Path, frame_rate: float | None = None) -> None:
        self.description = str(path)
        self._capture = cv2.VideoCapture(str(path))
        is_text = self._capture.get(cv2.CAP_PROP_FOURCC) == _TEXT_AS_PICTURE
        opened, first_image = self._capture.read() if self._capture.isOpened() else (False, None)
        if is_text or not opened:
            self._capture.release()
            raise SourceError(
                f"{path} holds no video that can be read; check that it is a complete video file."
            )
        self._next_image = first_image
        self._origin = self._container_time()
        self._keeps_container_times = frame_rate is None and abs(self._origin) < LATEST_START
        announced_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frame_rate = frame_rate or announced_rate
        if not _is_plausible(self.frame_rate):
            self.frame_rate = DEFAULT_FRAME_RATE
            _logger.warning(
                "%s announces %s frames per second; counting with %.0f.",
                path,
                announced_rate,
                self.frame_rate,
            )
        announced_count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(announced_count) if announced_count > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        index, stamp = 0, 0.0
        while self._next_image is not None:
            image = cv2.cvtColor(self._next_image, cv2.COLOR_BGR2RGB)
            yield Frame(image, stamp, index)
            readable, next_image = self._capture.read()
            self._next_image = next_image if readable else None
            index += 1
            stamp = self._stamp_after(stamp, self._container_time() - self._origin)
        self._report_missing_frames(index)

    def close(self) -> None:
        self._next_image = None
        self._capture.release()

    def _container_time(self) -> float:
        """The time of the frame that was read last, in seconds from an origin of the container's
        own.
        """
        return self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0

    def _stamp_after(self, previous: float, container_stamp: float) -> float:
        """The container's time where it goes forward, else one frame period after the previous
        stamp.
        """
        if (
            self._keeps_container_times
            and math.isfinite(container_stamp)
            and container_stamp > previous
        ):
            return container_stamp
        return previous + 1.0 / self.frame_rate

    def _report_missing_frames(self, read_count: int) -> None:
        # Some containers only estimate their frame count from the duration, hence the allowance.
        if self.frame_count is None or self.frame_count - read_count <= max(
            1, self.frame_count // 50
        ):
            return
        self.problem = (
            f"{self.description} cannot be read beyond frame {read_count} of the "
            f"{self.frame_count} it announces; the file is damaged."
        )
        _logger.warning("%s", self.problem)


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
        self.frame_rate = announced_rate if _is_plausible(announced_rate) else DEFAULT_FRAME_RATE

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
    """The images of a folder in the order a person would count them: frame2 before frame10."""
    try:
        images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error
    if not images:
        raise SourceError(f"{folder} contains no images ({', '.join(IMAGE_SUFFIXES)}).")
    return sorted(images, key=_natural_order)


def _natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.findall(r"\d+|\D+", path.name.lower())
    order = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return order, path.name


def _is_plausible(frame_rate: float) -> bool:
    return math.isfinite(frame_rate) and 0.0 < frame_rate <= HIGHEST_FRAME_RATE
