# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Free distance ahead: the nearest thing in a corridor that is not the target, from depth.

A last resort of a robot that has nothing better; no replacement for a collision monitor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from referdino_core.following.geometry import Intrinsics, Mounting
from referdino_core.following.masks import grown
from referdino_core.following.ranges import Ranged, quantity


@dataclass(frozen=True)
class CorridorSettings(Ranged):
    """Size of the corridor that must be free.

    Attributes:
        width: across, the robot's own with a margin.
        floor: height up to which points are the floor's.
        ceiling: height above which the robot passes.
        pixels: that make an obstacle, at least.
    """

    width: float = quantity(0.5, 0.05, 5.0, "m")
    floor: float = quantity(0.06, 0.0, 1.0, "m")
    ceiling: float = quantity(1.2, 0.1, 5.0, "m")
    pixels: int = quantity(8, 1, 10000, "pixels")


def free_distance(
    depth: np.ndarray,
    target: np.ndarray,
    intrinsics: Intrinsics,
    mounting: Mounting,
    settings: CorridorSettings | None = None,
) -> float:
    """Metres from the base's origin to the nearest thing ahead that is not the target.

    Args:
        depth: (H, W) metres, NaN where invalid.
        target: (H, W) bool, the target's mask; its surroundings of two pixels are left out, too.

    Returns:
        Infinity where the corridor is free as far as it is seen.
    """
    settings = settings or CorridorSettings()
    others = np.isfinite(depth) & ~grown(target, 2)
    rows, columns = np.nonzero(others)
    if not len(rows):
        return math.inf
    points = mounting.to_base(
        intrinsics.rays(rows, columns) * depth[rows, columns].astype(np.float64)[:, None]
    )
    inside = (
        (np.abs(points[:, 1]) <= settings.width / 2)
        & (points[:, 2] > settings.floor)
        & (points[:, 2] < settings.ceiling)
        & (points[:, 0] > 0)
    )
    ahead = np.sort(points[inside, 0])
    return float(ahead[settings.pixels - 1]) if len(ahead) >= settings.pixels else math.inf
