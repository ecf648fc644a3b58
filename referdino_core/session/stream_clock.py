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
    """Time as the images' stamps tell it.

    Attributes:
        judged: stamp of the last image that was judged, None before the first of a stream.
        newest: the latest stamp of all camera images, also of those that were dropped before the
            model came to them, None before the first. Both in seconds.
        late: how many images were dropped because they were stamped before their predecessor.
    """

    judged: float | None = None
    newest: float | None = None
    late: int = 0

    def following(self) -> float:
        """The stamp of an image that has none."""
        latest = self.newest if self.judged is None else self.judged
        return 0.0 if latest is None else latest + DEFAULT_INTERVAL

    def is_late(self, stamp: float, settings: SessionSettings) -> bool:
        """Whether an image comes after a judged one that is slightly newer."""
        return self.judged is not None and 0 < self.judged - stamp < settings.max_lateness

    def note(self, stamp: float, settings: SessionSettings) -> str | None:
        """Note a camera image; returns why the stream breaks before it, or None."""
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
