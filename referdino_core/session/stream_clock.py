# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""StreamClock: the stamps of one camera's images, and where its stream breaks."""

from __future__ import annotations

from dataclasses import dataclass

from referdino_core.configuration import SessionSettings

DEFAULT_INTERVAL = 0.1
"""Seconds between images without stamps."""


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

    def is_late(self, stamp: float, settings: SessionSettings) -> bool:
        """Whether an image is slightly older than the last judged one."""
        return self.judged is not None and 0 < self.judged - stamp < settings.max_lateness

    def note(self, stamp: float, settings: SessionSettings) -> str | None:
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
