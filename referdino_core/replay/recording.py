# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What is replayed: a recording as frames and what happened between them, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from referdino_core.media.frame_source import DEFAULT_FRAME_RATE, HIGHEST_FRAME_RATE
from referdino_core.replay.storage import Channel, RawMessage

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class RecordedFrame:
    """One image of a recording.

    Attributes:
        index: place in the recording, from 0.
        stamp: integer nanoseconds, of the camera; the arrival where it sets none.
        seconds: the stamp as the node hands it to its session; None where the camera sets none.
        arrival: integer nanoseconds at which it was recorded; never goes back.
        header: of its message, as rosbags has it; None where there is no message.
        pixels: makes (H, W, 3) uint8 RGB of it, or raises ImageError.
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
"""A raw message is one to be copied; it comes before what was made of it."""


class Recording(ABC):
    """A recording that is open for reading once, from front to back.

    Attributes:
        kind: "bag", "video" or "images".
        topic: of the images, where there are topics.
        command_topic: whose texts become commands; None where there is none.
        frame_count: how many frames are announced, or None where nobody can know.
        frame_rate: frames per second, where the source tells; else None.
        inputs: channels of the messages that are to be copied.
        problems: what is wrong with it, a line each; complete once it was read.
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
        """Frames, commands and messages to be copied, in the order of their times.

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
    """Frames per second that the first arrivals (nanoseconds) suggest; 25 where they do not."""
    gaps = [later - earlier for earlier, later in pairwise(arrivals) if later > earlier]
    if not gaps:
        return DEFAULT_FRAME_RATE
    # Rounded, since a video container keeps the rate as a ratio of small numbers.
    return round(min(max(NANOSECONDS / median(gaps), 0.1), HIGHEST_FRAME_RATE), 3)
