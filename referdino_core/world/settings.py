# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the world: image size, clip length and frame rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from referdino_core.errors import ReferDINOError

Scenes = Literal["room", "robot"]

SCENES: tuple[Scenes, ...] = ("room", "robot")
"""Kinds of scenes: a room seen from above, or from the camera of a small robot."""

REFERENCE_WIDTH = 160
"""Image width in pixels for which all pixel thresholds of the world are stated."""

MAX_TURN, MAX_DRIVE = 3.0, 2.0


@dataclass(frozen=True)
class WorldSettings:
    """Size and length of the clips of a world, and its kind of scenes.

    A scene depends on its split, index and stamps, but not on the image size: the same clip can be
    rendered in several sizes of one aspect ratio.

    Attributes:
        width, height: image size in pixels, 32 to 1920.
        frames: frames per clip, 1 to 3000.
        frame_rate: frames per second, above 0 and at most 120.
        scenes: "room", seen from above by a camera that stands or sways; or "robot", seen from 0.25
            to 0.6 m above the floor by a camera that stands, turns back and forth or drives. Scenes
            of a robot have objects that enter the view late, leave it and pass behind each other,
            objects that look the same, and plural sentences.
        turn: turning rate of a robot's camera, 0 to 3 rad/s; None for a random one per clip.
        drive: forward speed of a robot, 0 to 2 m/s; None for a random one per clip.

    Raises:
        ReferDINOError: a value is out of its range.
    """

    width: int = 160
    height: int = 120
    frames: int = 12
    frame_rate: float = 10.0
    scenes: Scenes = "room"
    turn: float | None = None
    drive: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("width", 32, 1920), ("height", 32, 1920), ("frames", 1, 3000)):
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ReferDINOError(
                    f"world setting {name} is {value!r}; give a whole number from {low} to {high}"
                )
        if not math.isfinite(self.frame_rate) or not 0 < self.frame_rate <= 120:
            raise ReferDINOError(
                f"world setting frame_rate is {self.frame_rate!r}; give a number above 0 up to 120"
            )

        if self.scenes not in SCENES:
            raise ReferDINOError(
                f"world setting scenes is {self.scenes!r}; use one of {', '.join(SCENES)}"
            )
        for name, most in (("turn", MAX_TURN), ("drive", MAX_DRIVE)):
            value = getattr(self, name)
            if value is None:
                continue
            if self.scenes != "robot":
                raise ReferDINOError(f"world setting {name} needs scenes='robot'")
            if not math.isfinite(value) or not 0 <= value <= most:
                raise ReferDINOError(
                    f"world setting {name} is {value!r}; give a number from 0 to {most:g}"
                )

    @property
    def pixel_scale(self) -> float:
        """Pixels of these images per pixel of a 160-pixel-wide one."""
        return self.width / REFERENCE_WIDTH

    @property
    def stamps(self) -> np.ndarray:
        """Times of the frames, (T,) float64 seconds from 0."""
        return np.arange(self.frames, dtype=np.float64) / self.frame_rate
