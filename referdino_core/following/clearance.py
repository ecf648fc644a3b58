# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Free distance ahead: the nearest thing in a corridor that is not the target, from depth.

What the camera saw and does not see any more, since it is too near or too low, is remembered. A
last resort of a robot that has nothing better; no replacement for a collision monitor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from referdino_core.following.geometry import Intrinsics, Mounting, Pose
from referdino_core.following.masks import grown
from referdino_core.following.ranges import Ranged, quantity

_NEAR = 1.5
"""Metres ahead within which an obstacle may leave the view, and is remembered."""
_LEFT_BEHIND = 2.0
"""Metres from the base at which one is forgotten."""
_MEMORY = 120.0
"""Seconds after which one is forgotten that was not seen again."""
_REMEMBERED = 64
"""Points that are remembered of one image."""
_BEHIND, _BEHIND_SHARE = 0.05, 0.02
"""Metres, and fraction of the depth, by which what is seen must be farther than an obstacle to show
that it has gone."""
_FLOOR_AHEAD = 3.0
"""Metres ahead up to which the floor tells whether the corridor is seen."""
_STRIDE = 4
_CELL = 0.03
"""Metres; points of one cell are remembered once."""


@dataclass(frozen=True)
class CorridorSettings(Ranged):
    """Size of the corridor that must be free.

    Attributes:
        width: across, the robot's own with a margin.
        floor: height up to which points are the floor's.
        ceiling: height above which the robot passes.
        pixels: that make an obstacle, at least.
        min_valid: fraction of the pixels that look at the floor ahead, with a valid depth, below
            which the corridor counts as not seen; 0 switches that off.
    """

    width: float = quantity(0.5, 0.05, 5.0, "m")
    floor: float = quantity(0.06, 0.0, 1.0, "m")
    ceiling: float = quantity(1.2, 0.1, 5.0, "m")
    pixels: int = quantity(8, 1, 10000, "pixels")
    min_valid: float = quantity(0.1, 0.0, 1.0)


class Corridor:
    """The corridor ahead of one camera, with one target in view. Not thread-safe."""

    def __init__(self, settings: CorridorSettings | None = None) -> None:
        self.settings = settings or CorridorSettings()
        self._points = np.zeros((0, 3))
        self._stamps = np.zeros(0)

    def free_distance(
        self,
        stamp: float,
        depth: np.ndarray,
        target: np.ndarray,
        intrinsics: Intrinsics,
        mounting: Mounting,
        pose: Pose | None,
    ) -> float:
        """Metres from the base's origin to the nearest thing ahead that is not the target.

        Args:
            stamp: of the image, seconds.
            depth: (H, W) metres, NaN where invalid.
            target: (H, W) bool, the target's mask; its surroundings of two pixels are left out.
            pose: of the base in the odometry frame at that stamp; None where it is not known, and
                nothing is remembered.

        Returns:
            Infinity where the corridor is free as far as it is seen; NaN where it is not seen.
        """
        own = grown(target, 2)
        ahead = self._ahead(depth, own, intrinsics, mounting)
        near = np.zeros((0, 3))
        if pose is not None:
            self._forget(stamp, depth, own, intrinsics, mounting, pose)
            near = self._in_base(pose)
            near = near[self._holds(near)]
            self._remember(stamp, ahead, pose)
        if not self._is_seen(depth, own, intrinsics, mounting):
            return math.nan
        enough = len(ahead) >= self.settings.pixels
        seen = float(ahead[self.settings.pixels - 1, 0]) if enough else math.inf
        return min(seen, float(near[:, 0].min()) if len(near) else math.inf)

    def _holds(self, points: np.ndarray) -> np.ndarray:
        """Which points (N, 3) of the base's frame are in the corridor, (N,) bool."""
        settings = self.settings
        inside: np.ndarray = (
            (np.abs(points[:, 1]) <= settings.width / 2)
            & (points[:, 2] > settings.floor)
            & (points[:, 2] < settings.ceiling)
            & (points[:, 0] > 0)
        )
        return inside

    def _ahead(
        self, depth: np.ndarray, own: np.ndarray, intrinsics: Intrinsics, mounting: Mounting
    ) -> np.ndarray:
        """Points (N, 3) of the base's frame in the corridor, the nearest first."""
        rows, columns = np.nonzero(np.isfinite(depth) & ~own)
        points = mounting.to_base(
            intrinsics.rays(rows, columns) * depth[rows, columns].astype(np.float64)[:, None]
        )
        points = points[self._holds(points)]
        return points[np.argsort(points[:, 0], kind="stable")]

    def _is_seen(
        self, depth: np.ndarray, own: np.ndarray, intrinsics: Intrinsics, mounting: Mounting
    ) -> bool:
        """Whether enough of the pixels that look at the floor of the corridor have a depth."""
        rows, columns = (
            one.ravel() for one in np.mgrid[: depth.shape[0] : _STRIDE, : depth.shape[1] : _STRIDE]
        )
        directions = intrinsics.rays(rows, columns) @ mounting.rotation.T
        down = directions[:, 2] < -1e-6
        reach = np.where(down, mounting.z / np.where(down, -directions[:, 2], 1.0), np.inf)
        with np.errstate(invalid="ignore"):
            x = mounting.x + reach * directions[:, 0]
            y = mounting.y + reach * directions[:, 1]
        looks = down & (x > 0) & (x <= _FLOOR_AHEAD) & (np.abs(y) <= self.settings.width / 2)
        looks &= ~own[rows, columns]
        if looks.sum() < self.settings.pixels:
            return True
        valid = np.isfinite(depth[rows, columns][looks])
        return bool(valid.mean() >= self.settings.min_valid)

    def _in_base(self, pose: Pose) -> np.ndarray:
        """The remembered points (N, 3) in the base's frame."""
        return np.column_stack([pose.inward(self._points[:, :2]), self._points[:, 2]])

    def _forget(
        self,
        stamp: float,
        depth: np.ndarray,
        own: np.ndarray,
        intrinsics: Intrinsics,
        mounting: Mounting,
        pose: Pose,
    ) -> None:
        """Drop the points that the image shows to be free or the target's, and old or far ones."""
        base = self._in_base(pose)
        age = stamp - self._stamps
        keep = (age >= 0) & (age <= _MEMORY) & (np.hypot(*base[:, :2].T) <= _LEFT_BEHIND)
        optical = mounting.to_optical(base)
        ahead = optical[:, 2] > 0.05
        z = optical[:, 2] = np.where(ahead, optical[:, 2], 1.0)
        rows, columns = map(np.rint, intrinsics.pixels(optical))
        height, width = depth.shape
        shown = ahead & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        row, column = (np.where(shown, one, 0).astype(np.int64) for one in (rows, columns))
        measured = np.where(shown, depth[row, column], np.nan)
        margin = _BEHIND + _BEHIND_SHARE * z
        gone = (measured > z + margin) | (shown & own[row, column] & ~(measured < z - margin))
        self._points, self._stamps = self._points[keep & ~gone], self._stamps[keep & ~gone]

    def _remember(self, stamp: float, ahead: np.ndarray, pose: Pose) -> None:
        """Note the nearest of the points (N, 3), in their order, that the camera may lose."""
        near = ahead[ahead[:, 0] <= _NEAR]
        if len(near) < self.settings.pixels:
            return
        near = near[self.settings.pixels - 1 :][:_REMEMBERED]
        new = np.column_stack([pose.outward(near[:, :2]), near[:, 2]])
        points = np.concatenate([new, self._points])
        stamps = np.concatenate([np.full(len(new), stamp), self._stamps])
        # Of points in one cell the newest stays: what is seen again is remembered anew.
        _, first = np.unique(np.floor(points / _CELL), axis=0, return_index=True)
        self._points, self._stamps = points[first], stamps[first]
