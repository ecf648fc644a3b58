# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images of rosbag2 recordings by index, for clips of a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from referdino_core.errors import ImageError
from referdino_core.evaluation.benchmarks.own_clips import BagReader
from referdino_core.replay.bag_recording import BagRecording
from referdino_core.replay.recording import RecordedFrame, Recording


class BagFrames(BagReader):
    """Reads a recording from its start, and decodes only the wanted images."""

    def count(self, path: Path, topic: str | None) -> int:
        with BagRecording(path, topic, inputs=()) as recording:
            if recording.frame_count is not None:
                return recording.frame_count
            return sum(1 for _ in _frames(recording))

    def read(
        self, path: Path, topic: str | None, indices: Sequence[int] | None = None, /
    ) -> Iterator[np.ndarray | ImageError]:
        wanted = None if indices is None else list(indices)
        with BagRecording(path, topic, inputs=()) as recording:
            for frame in _frames(recording):
                if wanted is None:
                    yield _pixels(frame)
                    continue
                while wanted and wanted[0] == frame.index:
                    wanted.pop(0)
                    yield _pixels(frame)
                if not wanted:
                    return
        for index in wanted or ():
            yield ImageError(f"{path} has no image {index}.")


def _frames(recording: Recording) -> Iterator[RecordedFrame]:
    return (event for event in recording.events() if isinstance(event, RecordedFrame))


def _pixels(frame: RecordedFrame) -> np.ndarray | ImageError:
    try:
        return frame.pixels()
    except ImageError as error:
        return error
