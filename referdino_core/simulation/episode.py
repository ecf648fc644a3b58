# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Episode: a room, objects that stand or move in it, a robot, and the referred object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from referdino_core.following.geometry import Pose
from referdino_core.world.scene import Body, Lighting, Surface, Wall

SCREEN = "grey"
"""Colour of screens, a word that no sentence has."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Path of an object: (K,) seconds, and (K, 2) metres on the floor."""

    times: np.ndarray
    points: np.ndarray

    @classmethod
    def still(cls, point: np.ndarray) -> Motion:
        """Of something that stands at a point (2,)."""
        return cls(np.zeros(1), np.asarray(point, np.float64)[None])

    @classmethod
    def along(cls, points: Sequence[np.ndarray], speed: float, start: float = 0.0) -> Motion:
        """Of something that goes from point to point at a speed, from a time on."""
        way = np.asarray(points, np.float64)
        lengths = np.hypot(*np.diff(way, axis=0).T)
        return cls(start + np.concatenate([[0.0], np.cumsum(lengths / speed)]), way)

    def at(self, seconds: float | np.ndarray) -> np.ndarray:
        """(2,) or (..., 2) metres; before the first and after the last time it stands."""
        x = np.interp(seconds, self.times, self.points[:, 0])
        y = np.interp(seconds, self.times, self.points[:, 1])
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True, eq=False)
class Episode:
    """What happens, before anything is rendered.

    Attributes:
        split, index: what it was sampled from.
        bodies: the things; motions: where each is.
        target: index of the body that is meant; None in the split absent.
        twin: index of the body that looks like it; None for none.
        start: the robot's pose in the world.
        fovy: vertical field of view of its camera, degrees.
        event: seconds, of the passing by or the hiding: when it begins and ends.
        distance: metres to keep from the target's surface.
        duration: seconds, after which the episode ends.
    """

    split: str
    index: int
    bodies: tuple[Body, ...]
    motions: tuple[Motion, ...]
    floor: Surface
    walls: tuple[Wall, ...]
    lighting: Lighting
    target: int | None
    twin: int | None
    start: Pose
    fovy: float
    event: tuple[float, float]
    distance: float
    duration: float

    def centres(self, seconds: float) -> np.ndarray:
        """(N, 3) metres, of every body at a time."""
        return np.stack(
            [
                [*motion.at(seconds), body.path[0, 2]]
                for body, motion in zip(self.bodies, self.motions, strict=True)
            ]
        )
