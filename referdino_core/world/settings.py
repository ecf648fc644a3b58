# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a world renders: image size, clip length and frame rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from referdino_core.errors import ReferDINOError

REFERENCE_WIDTH = 160
"""Image width, pixels, at which all pixel thresholds of the world are stated."""


@dataclass(frozen=True)
class WorldSettings:
    """Size and length of the clips of a world.

    width: image width in pixels, 32 to 1920.
    height: image height in pixels, 32 to 1920.
    frames: frames per clip, 1 to 3000.
    frame_rate: frames per second, above 0 and at most 120.

    Raises ReferDINOError when a value is outside its range. A scene depends on its split, its index
    and the stamps, not on the image size: the same clip can be had at several sizes of one aspect
    ratio.
    """

    width: int = 160
    height: int = 120
    frames: int = 12
    frame_rate: float = 10.0

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

    @property
    def pixel_scale(self) -> float:
        """Pixels of these images per pixel of a 160-pixel-wide one."""
        return self.width / REFERENCE_WIDTH

    @property
    def stamps(self) -> np.ndarray:
        """Times of the frames, (T,) float64 seconds from 0."""
        return np.arange(self.frames, dtype=np.float64) / self.frame_rate
