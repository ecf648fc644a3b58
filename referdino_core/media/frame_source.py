# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Interface of frame sources, and the limits of frame rates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from referdino_core.errors import SourceError

DEFAULT_FRAME_RATE = 25.0  # frames per second, if the source does not state it
HIGHEST_FRAME_RATE = 1000.0


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        stamp: seconds, strictly increasing; the first frame of a source is at or near 0.
        index: position in the source, from 0; unreadable images leave a gap.
    """

    image: np.ndarray
    stamp: float
    index: int


class FrameSource(ABC):
    """A stream of frames that is read once, from front to back.

    Attributes:
        description: name of the source, for messages.
        frame_rate: frames per second, greater than 0.
        frame_count: announced number of frames; None if unknown.
        problem: problem found while reading, or "".
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


def check_frame_rate(frame_rate: float | None) -> None:
    """Raise SourceError for an impossible frame rate; None is allowed."""
    if frame_rate is not None and not is_plausible(frame_rate):
        raise SourceError(
            f"A frame rate of {frame_rate} is impossible; give more than 0 and at most "
            f"{HIGHEST_FRAME_RATE:.0f} frames per second."
        )


def is_plausible(frame_rate: float) -> bool:
    """Whether this is a possible frame rate of a camera or video."""
    return math.isfinite(frame_rate) and 0.0 < frame_rate <= HIGHEST_FRAME_RATE
