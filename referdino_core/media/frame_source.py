# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What every source of frames is: the interface, and the bounds of frame rates."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from referdino_core.errors import SourceError

DEFAULT_FRAME_RATE = 25.0  # frames per second, where the source does not tell
HIGHEST_FRAME_RATE = 1000.0


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


def check_frame_rate(frame_rate: float | None) -> None:
    """Raise SourceError for frames per second that cannot be; None stands for none given."""
    if frame_rate is not None and not is_plausible(frame_rate):
        raise SourceError(
            f"A frame rate of {frame_rate} is impossible; give more than 0 and at most "
            f"{HIGHEST_FRAME_RATE:.0f} frames per second."
        )


def is_plausible(frame_rate: float) -> bool:
    """Whether a camera or video can have so many frames per second."""
    return math.isfinite(frame_rate) and 0.0 < frame_rate <= HIGHEST_FRAME_RATE
