# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The place between cameras and model: it holds one frame per camera, and the newest one wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Frame = TypeVar("Frame")


class FrameSlots(Generic[Frame]):
    """Hands the newest frame of every camera to one consumer.

    A frame that nobody took before the camera's next one came is replaced and counted. The age of
    a taken frame is therefore bounded by the time the consumer needs, whatever the rates.

    Args:
        cameras: how many there are; they are numbered from 0.
        on_replace: called with a frame that nobody took and the one in its place; must not block.
    """

    def __init__(
        self, cameras: int = 1, on_replace: Callable[[Frame, Frame], None] | None = None
    ) -> None:
        self._on_replace = on_replace
        self._condition = threading.Condition()
        self._frames: dict[int, Frame] = {}
        self._woken = False
        self._received = [0] * cameras
        self._replaced = [0] * cameras

    def received(self, camera: int) -> int:
        """Frames of a camera put so far."""
        return self._received[camera]

    def replaced(self, camera: int) -> int:
        """Its frames that a newer one replaced, or `clear` removed, before they were taken."""
        return self._replaced[camera]

    def put(self, camera: int, frame: Frame) -> None:
        """Leave a frame of a camera; never waits for the consumer."""
        with self._condition:
            self._received[camera] += 1
            waiting = self._frames.get(camera)
            if waiting is not None:
                self._replaced[camera] += 1
                if self._on_replace is not None:
                    self._on_replace(waiting, frame)
            self._frames[camera] = frame
            self._condition.notify()

    def clear(self) -> None:
        """Remove the frames that wait."""
        with self._condition:
            for camera in self._frames:
                self._replaced[camera] += 1
            self._frames.clear()

    def wake(self) -> None:
        """Let a present or the next `take` return although there may be no frame."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def take(self) -> dict[int, Frame]:
        """The newest frames by camera, once there is one; none after `wake` (all stay then)."""
        with self._condition:
            self._condition.wait_for(lambda: self._woken or bool(self._frames))
            if self._woken:
                self._woken = False
                return {}
            frames, self._frames = self._frames, {}
            return dict(sorted(frames.items()))
