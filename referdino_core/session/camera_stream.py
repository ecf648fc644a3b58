# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""CameraStream: sizes and stamps of one camera's images, and where its stream breaks."""

from __future__ import annotations

import abc
import logging
import math
import numbers
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from referdino_core.errors import ImageError
from referdino_core.network.pixels import check_proportion
from referdino_core.target import Judgement

DEFAULT_INTERVAL = 0.1
"""Seconds between images without stamps."""
SECONDS_BETWEEN_RESET_LOGS = 10.0
MAX_STAMP = 1e12
"""Seconds; differences between larger stamps lose their precision."""

logger = logging.getLogger("referdino.session")


class StreamSettings(Protocol):
    """Settings that say where a stream breaks, in seconds; see `SessionSettings`."""

    @property
    def max_gap(self) -> float:
        """Gap between two images that resets the memories; 0 never does."""

    @property
    def max_lateness(self) -> float:
        """How much earlier than its predecessor an image may be stamped to be just dropped."""


@dataclass
class StreamClock:
    """Time according to the images' stamps, in seconds.

    Attributes:
        judged: stamp of the last judged image; None before the first one of a stream.
        newest: latest stamp of all camera images, including those that were dropped without being
            judged; None before the first.
        late: number of images dropped because they were stamped before their predecessor.
    """

    judged: float | None = None
    newest: float | None = None
    late: int = 0

    def following(self) -> float:
        """The stamp to use for an image that has none."""
        latest = self.newest if self.judged is None else self.judged
        return 0.0 if latest is None else latest + DEFAULT_INTERVAL

    def is_late(self, stamp: float, settings: StreamSettings) -> bool:
        """Whether an image is slightly older than the last judged one."""
        return self.judged is not None and 0 < self.judged - stamp < settings.max_lateness

    def note(self, stamp: float, settings: StreamSettings) -> str | None:
        """Record a camera image; returns why the stream breaks before it, or None."""
        reason = None
        if self.newest is not None:
            gap = stamp - self.newest
            if -gap >= max(settings.max_lateness, 1e-9):
                reason = f"stamps jumped back by {-gap:.2f} s"
            elif 0 < settings.max_gap < gap:
                reason = f"there was a gap of {gap:.2f} s between images"
        if reason is not None or self.newest is None:
            self.newest, self.judged = stamp, None
        self.newest = max(self.newest, stamp)
        return reason


class CameraStream(abc.ABC):
    """Base of engines: admits the images of one camera, and resets memories where they break off.

    Attributes:
        image_size: (height, width) of the newest image; None before the first.
        clock: the images' stamps.
        judgement: whether the model was able to judge the newest image.
        reset_count: number of resets of the memories after a break in the stream.
        first_reset, last_reset: reasons of the first and last of them; None before the first.
        reset_untold: whether no judged image has reported the last reset yet.
        failure_count: images that could not be judged, or for which a command failed.
    """

    def begin_stream(self) -> None:
        """Start over without commands and without any image seen."""
        self.image_size: tuple[int, int] | None = None
        self.clock = StreamClock()
        self.judgement = Judgement.JUDGED
        self.reset_count = self.failure_count = 0
        self.last_reset: str | None = None
        self.first_reset: str | None = None
        self.reset_untold = False
        self._reset_logged = -math.inf

    @property
    @abc.abstractmethod
    def stream_settings(self) -> StreamSettings:
        """Where the stream breaks."""

    @abc.abstractmethod
    def forget(self) -> None:
        """Clear every command's memory, but keep the commands."""

    @property
    def stamp(self) -> float | None:
        """Seconds of the newest image that was judged."""
        return self.clock.judged

    @property
    def reason(self) -> str:
        """Why memories were reset before the newest image, or why it was dropped; "" otherwise."""
        return {
            Judgement.RESET: f"Memories were reset: {self.last_reset}.",
            Judgement.LATE: "The image is stamped before its predecessor and was dropped.",
        }.get(self.judgement, "")

    @property
    def late_count(self) -> int:
        """Number of images dropped because they were stamped before their predecessor."""
        return self.clock.late

    def skip(self, stamp: float) -> None:
        """Record a camera image that will not be judged, for example because a newer one arrived.

        Gaps in the stream and jumps of its clock are detected from all images of the camera, in
        the order of their arrival.

        Args:
            stamp: seconds.
        """
        if self.clock.is_late(stamp, self.stream_settings):
            return
        break_in_time = self.clock.note(stamp, self.stream_settings)
        if break_in_time is not None:
            self.reset(break_in_time)

    def admit(self, size: tuple[int, int], stamp: float | None) -> float | None:
        """Record the next image's (height, width) and stamp; resets memories if the stream breaks.

        Returns:
            Its stamp; None if it is late and must not be judged.
        """
        stamp = self.clock.following() if stamp is None else float(stamp)
        if self.clock.is_late(stamp, self.stream_settings):
            self.clock.late += 1
            self.judgement = Judgement.LATE
            return None
        height, width = size
        broken = []
        if self.image_size not in (None, size):
            before = "x".join(str(side) for side in reversed(self.image_size or ()))
            broken.append(f"the image size changed from {before} to {width}x{height}")
        break_in_time = self.clock.note(stamp, self.stream_settings)
        if break_in_time is not None:
            broken.append(break_in_time)
        if broken:
            self.reset(" and ".join(broken))
        self.image_size = size
        return stamp

    def reset(self, reason: str) -> None:
        """Clear every command's memory, but keep the commands; log the reason, rate-limited."""
        self.last_reset = reason
        self.first_reset = self.first_reset or reason
        self.reset_count += 1
        self.reset_untold = True
        now = time.monotonic()
        if now - self._reset_logged >= SECONDS_BETWEEN_RESET_LOGS:
            self._reset_logged = now
            logger.warning("Memories were reset: %s (reset %d).", reason, self.reset_count)
        self.forget()

    def fail(self) -> None:
        """Record that the newest image could not be judged."""
        self.judgement = Judgement.FAILED
        self.failure_count += 1

    def conclude_image(self, stamp: float) -> None:
        """Record that the admitted image was judged."""
        self.judgement = Judgement.RESET if self.reset_untold else Judgement.JUDGED
        self.reset_untold = False
        self.clock.judged = stamp

    def stream_snapshot(self) -> dict[str, Any]:
        """Size, stamps and resets as plain data for `torch.save`."""
        return {
            "image_size": self.image_size,
            "clock": vars(self.clock).copy(),
            "last_reset": self.last_reset,
            "first_reset": self.first_reset,
            "reset_count": self.reset_count,
            "reset_untold": self.reset_untold,
            "failure_count": self.failure_count,
        }

    def restore_stream(self, remembered: Mapping[str, Any]) -> None:
        """Start over, with size, stamps and resets from a snapshot."""
        self.begin_stream()
        size = remembered["image_size"]
        self.image_size = None if size is None else (size[0], size[1])
        self.clock = StreamClock(**remembered["clock"])
        self.last_reset = remembered["last_reset"]
        self.first_reset = remembered["first_reset"]
        self.reset_count = remembered["reset_count"]
        self.reset_untold = remembered["reset_untold"]
        self.failure_count = remembered["failure_count"]


def check_image(image: np.ndarray, stamp: float | None) -> None:
    """Raise ImageError unless the image is a non-empty (H, W, 3) uint8 array at a finite time."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"An image must be a NumPy array, not {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"An image must be (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}; convert it."
        )
    if not image.shape[0] or not image.shape[1]:
        raise ImageError(f"The image has no pixels: {image.shape[1]}x{image.shape[0]}.")
    check_proportion(*image.shape[:2])
    if stamp is None:
        return
    if not isinstance(stamp, numbers.Real) or not abs(stamp) <= MAX_STAMP:
        raise ImageError(f"The stamp {stamp!r} is not a valid time; give seconds.")
