# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The place between the camera and the model: it holds one frame, and the newest one wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Frame = TypeVar("Frame")


class FrameSlot(Generic[Frame]):
    """Hands the newest frame of any number of producers to one consumer.

    A frame that nobody took before the next one came is replaced and counted. The age of a taken
    frame is therefore bounded by the time the consumer needs for one, whatever the rate.

    Args:
        on_replace: called with a frame that nobody took and the one in its place; must not block.
    """

    def __init__(self, on_replace: Callable[[Frame, Frame], None] | None = None) -> None:
        self._on_replace = on_replace
        self._condition = threading.Condition()
        self._frame: Frame | None = None
        self._woken = False
        self._received = 0
        self._replaced = 0

    @property
    def received(self) -> int:
        """Frames put so far."""
        return self._received

    @property
    def replaced(self) -> int:
        """Frames that a newer one replaced, or that `clear` removed, before they were taken."""
        return self._replaced

    def put(self, frame: Frame) -> None:
        """Leave a frame; never waits for the consumer."""
        with self._condition:
            self._received += 1
            if self._frame is not None:
                self._replaced += 1
                if self._on_replace is not None:
                    self._on_replace(self._frame, frame)
            self._frame = frame
            self._condition.notify()

    def clear(self) -> None:
        """Remove a waiting frame."""
        with self._condition:
            if self._frame is not None:
                self._replaced += 1
            self._frame = None

    def wake(self) -> None:
        """Let a present or the next `take` return although there may be no frame."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def take(self) -> Frame | None:
        """The newest frame, once there is one; None after `wake` (a waiting frame stays)."""
        with self._condition:
            self._condition.wait_for(lambda: self._woken or self._frame is not None)
            if self._woken:
                self._woken = False
                return None
            frame, self._frame = self._frame, None
            return frame
