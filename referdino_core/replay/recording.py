# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings as a sequence of frames and commands; video files and folders of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from referdino_core.errors import ImageError
from referdino_core.media.frame_source import DEFAULT_FRAME_RATE, HIGHEST_FRAME_RATE, Frame
from referdino_core.media.image_files import ImageFiles, read_image
from referdino_core.media.sources import open_source
from referdino_core.replay.storage import Channel, RawMessage

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class RecordedFrame:
    """One image of a recording.

    Attributes:
        index: position in the recording, from 0.
        stamp: the camera's stamp in integer nanoseconds; the arrival if the camera sets none.
        seconds: the stamp as the node passes it to its session; None if the camera sets none.
        arrival: when it was recorded, in integer nanoseconds; non-decreasing.
        header: of its message, as a rosbags object; None without a message.
        pixels: returns (H, W, 3) uint8 RGB, or raises ImageError.
    """

    index: int
    stamp: int
    seconds: float | None
    arrival: int
    header: Any
    pixels: Callable[[], np.ndarray]


@dataclass(frozen=True)
class RecordedCommand:
    """A text on the command topic, at integer nanoseconds."""

    time: int
    text: str


Event = RecordedFrame | RecordedCommand | RawMessage
"""A raw message is one to be copied; it precedes the frame or command decoded from it."""


class Recording(ABC):
    """A recording that is open for reading once, from front to back.

    Attributes:
        kind: "bag", "video" or "images".
        topic: of the images; None without topics.
        command_topic: its texts become commands; None if there is none.
        frame_count: number of frames; None if unknown.
        frame_rate: frames per second; None if the source does not state it.
        inputs: channels of the messages to copy.
        problems: one line per problem; complete once the recording was read.
    """

    kind: str
    topic: str | None = None
    command_topic: str | None = None
    inputs: tuple[Channel, ...] = ()
    frame_count: int | None
    frame_rate: float | None

    @property
    @abstractmethod
    def problems(self) -> list[str]: ...

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """Frames, commands and messages to copy, in order of time.

        Raises:
            SourceError: there is not a single frame.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the files; may be called more than once."""

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def frame_rate_of(arrivals: list[int]) -> float:
    """Frame rate estimated from the first arrivals (nanoseconds); 25 if they are too few."""
    gaps = [later - earlier for earlier, later in pairwise(arrivals) if later > earlier]
    if not gaps:
        return DEFAULT_FRAME_RATE
    # Rounded, since a video container keeps the rate as a ratio of small numbers.
    return round(min(max(NANOSECONDS / median(gaps), 0.1), HIGHEST_FRAME_RATE), 3)


class MediaRecording(Recording):
    """A video file, an image, or a folder of images."""

    def __init__(self, path: Path, frame_rate: float | None = None) -> None:
        """Open it.

        Raises:
            SourceError: it cannot be read.
        """
        self._source = open_source(str(path), frame_rate)
        self.kind = "images" if isinstance(self._source, ImageFiles) else "video"
        self.frame_count = self._source.frame_count
        self.frame_rate = self._source.frame_rate

    @property
    def problems(self) -> list[str]:
        """Problems found so far."""
        return [self._source.problem] if self._source.problem else []

    def events(self) -> Iterator[Event]:
        index = 0
        for frame in self._source:
            yield from self._unreadable(index, frame.index)
            stamp = round(frame.stamp * NANOSECONDS)
            yield RecordedFrame(
                frame.index, stamp, frame.stamp, stamp, None, partial(_pixels, frame)
            )
            index = frame.index + 1
        if isinstance(self._source, ImageFiles):
            yield from self._unreadable(index, len(self._source.paths))

    def close(self) -> None:
        self._source.close()

    def _unreadable(self, start: int, stop: int) -> Iterator[RecordedFrame]:
        """The images that the source skipped, as frames whose `pixels` raise."""
        if not isinstance(self._source, ImageFiles):
            return
        for index in range(start, stop):
            seconds = index / self._source.frame_rate
            stamp = round(seconds * NANOSECONDS)
            again = partial(read_image, self._source.paths[index])
            yield RecordedFrame(index, stamp, seconds, stamp, None, again)


def _pixels(frame: Frame) -> np.ndarray:
    if frame.image.size == 0:
        raise ImageError("The image has no pixels.")
    return frame.image
