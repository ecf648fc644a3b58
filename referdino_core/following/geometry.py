# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Pinhole cameras, poses on the floor and where a camera is mounted.

Axes follow REP 103: a base has x forward, y left, z up; a camera's optical frame has x right, y
down, z forward. Metres and radians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from referdino_core.errors import ReferDINOError

_BASE_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def wrap_angle(angle: float) -> float:
    """The same angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


@dataclass(frozen=True)
class Intrinsics:
    """A rectified pinhole camera: image size, focal lengths and principal point in pixels.

    Raises:
        ReferDINOError: a size or focal length is not above zero, or a value is not finite.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if self.width < 1 or self.height < 1 or not all(map(math.isfinite, values)):
            raise ReferDINOError(
                f"The camera's intrinsics cannot be used: {self}. Check its camera_info."
            )
        if self.fx <= 0 or self.fy <= 0:
            raise ReferDINOError(
                f"The camera's focal lengths are {self.fx:g} and {self.fy:g} pixels: it is not "
                "calibrated. Check its camera_info."
            )

    @classmethod
    def from_matrix(cls, width: int, height: int, matrix: Sequence[float]) -> Intrinsics:
        """Of the nine numbers of a camera_info's `k`, or the twelve of its `p`, row by row."""
        row = 3 if len(matrix) == 9 else 4
        return cls(width, height, matrix[0], matrix[row + 1], matrix[2], matrix[row + 2])

    @property
    def field_of_view(self) -> float:
        """Horizontal field of view, radians."""
        left, right = self.cx + 0.5, self.width - 0.5 - self.cx
        return math.atan2(left, self.fx) + math.atan2(right, self.fx)

    def scaled(self, width: int, height: int) -> Intrinsics:
        """Those of the same camera's image at another size of the same aspect ratio."""
        across, down = width / self.width, height / self.height
        cx, cy = (self.cx + 0.5) * across - 0.5, (self.cy + 0.5) * down - 0.5
        return Intrinsics(width, height, self.fx * across, self.fy * down, cx, cy)

    def rays(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N, 3) points at depth 1 in the optical frame, through the middles of (N,) pixels.

        As in image_geometry, the middle of the first pixel is (0, 0).
        """
        x = (np.asarray(columns, np.float64) - self.cx) / self.fx
        y = (np.asarray(rows, np.float64) - self.cy) / self.fy
        return np.column_stack([x, y, np.ones_like(x)])

    def pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (...) of points (..., 3) of the optical frame, which lie before it."""
        x, y, z = np.moveaxis(points, -1, 0)
        return self.cy + self.fy * y / z, self.cx + self.fx * x / z


@dataclass(frozen=True)
class Pose:
    """A pose on the floor: x, y in metres and yaw in radians, counter-clockwise from x."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0

    @property
    def rotation(self) -> np.ndarray:
        """(2, 2) from this pose's axes to those it is given in."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[cosine, -sine], [sine, cosine]])

    def outward(self, point: np.ndarray) -> np.ndarray:
        """Points (..., 2) of this frame in the frame that the pose is given in."""
        return point @ self.rotation.T + (self.x, self.y)

    def inward(self, point: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the frame that the pose is given in, in this frame."""
        return (np.asarray(point) - (self.x, self.y)) @ self.rotation

    def compose(self, other: Pose) -> Pose:
        """A pose given in this one's frame, in the frame that this pose is given in."""
        x, y = self.outward(np.array([other.x, other.y]))
        return Pose(float(x), float(y), wrap_angle(self.yaw + other.yaw))

    def relative(self, other: Pose) -> Pose:
        """Another pose of the same frame, as seen from this one."""
        x, y = self.inward(np.array([other.x, other.y]))
        return Pose(float(x), float(y), wrap_angle(other.yaw - self.yaw))


@dataclass(frozen=True)
class Mounting:
    """Where a camera sits on its base: position in metres; yaw to the left, pitch downwards, roll
    to the right.
    """

    x: float = 0.0
    y: float = 0.0
    z: float = 0.5
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    @classmethod
    def from_rotation(cls, position: Sequence[float], rotation: np.ndarray) -> Mounting:
        """Of a position in metres, and a rotation (3, 3) from the optical frame to the base's."""
        body = rotation @ _BASE_FROM_OPTICAL.T
        level = math.hypot(body[0, 0], body[1, 0])
        x, y, z = (float(value) for value in position)
        return cls(
            x,
            y,
            z,
            yaw=math.atan2(body[1, 0], body[0, 0]),
            pitch=math.atan2(-body[2, 0], level),
            roll=math.atan2(body[2, 1], body[2, 2]),
        )

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) from the optical frame to the base's."""
        cosine, sine = math.cos(self.roll), math.sin(self.roll)
        right = np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])
        cosine, sine = math.cos(self.pitch), math.sin(self.pitch)
        down = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        left = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        return left @ down @ right @ _BASE_FROM_OPTICAL

    def to_base(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the optical frame in the base's."""
        return points @ self.rotation.T + (self.x, self.y, self.z)

    def to_optical(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the base's frame in the optical frame."""
        return (points - (self.x, self.y, self.z)) @ self.rotation


def rotation_of(x: float, y: float, z: float, w: float) -> np.ndarray:
    """(3, 3) rotation of a unit quaternion."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
