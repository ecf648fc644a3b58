# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Video files and folders of images as recordings; stamps count from the first frame."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from referdino_core.errors import ImageError
from referdino_core.media.images import read_image
from referdino_core.media.sources import Frame, ImageFiles, open_source
from referdino_core.replay.recording import NANOSECONDS, Event, RecordedFrame, Recording


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
        """What was found wrong so far."""
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
        """The images that the source passed over: frames whose error is told."""
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
