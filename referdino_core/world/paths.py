# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Paths of the camera and of the objects over a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from referdino_core.world.settings import WorldSettings

_NEAR, _FAR = 2.1, 4.5
_MIN_SLANT, _MAX_SLANT = 2.45, 4.7
_TRAVEL_SECONDS = 1.1
"""Duration of a clip of 12 frames at 10 frames per second, for which displacements are stated."""
_PATROL_SECONDS = 3.0
"""Time after which a moving object turns back, so that it stays in view in long clips."""


@dataclass(frozen=True)
class CameraPath:
    """Poses of a pinhole camera over a clip.

    Attributes:
        positions: (T, 3) metres.
        rotations: (T, 3, 3), columns are the camera's right, up and backward axes in the world.
        fovy: vertical field of view in degrees.
        moving: whether the camera moves.
    """

    positions: np.ndarray
    rotations: np.ndarray
    fovy: float
    moving: bool

    def project(self, points: np.ndarray, settings: WorldSettings) -> tuple[np.ndarray, np.ndarray]:
        """Project points (T, 3) to pixels x, y (T, 2) and distances along the axis (T,), metres."""
        local = np.einsum("tij,ti->tj", self.rotations, points - self.positions)
        distance = -local[:, 2]
        focal = focal_length(self.fovy, settings.height)
        safe = np.maximum(distance, 0.05)
        x = settings.width / 2 + focal * local[:, 0] / safe
        y = settings.height / 2 - focal * local[:, 1] / safe
        return np.column_stack([x, y]), distance


@dataclass(frozen=True)
class PathRequest:
    """A requested motion.

    Attributes:
        kind: "still", "lateral" or "depth".
        side: for lateral motion -1 left, +1 right; for motion in depth -1 nearer, +1 away.
    """

    kind: Literal["still", "lateral", "depth"]
    side: float = 0.0


def focal_length(fovy: float, height: int) -> float:
    """Focal length in pixels for a vertical field of view in degrees and a height in pixels."""
    return height / 2 / math.tan(math.radians(fovy) / 2)


def sample_camera(rng: np.random.Generator, settings: WorldSettings) -> CameraPath:
    """A random camera above the floor that looks down at the objects; 35 % sway slowly."""
    height = rng.uniform(0.95, 2.3)
    pitch = math.atan2(height, 3.1) + rng.uniform(-0.06, 0.05)
    fovy = float(rng.uniform(43, 50))
    moving = bool(rng.random() < 0.35)
    sway = np.zeros(settings.frames)
    if moving:
        period = rng.uniform(3.5, 6.0)
        phase = rng.uniform(0, 2 * math.pi)
        angle = 2 * math.pi * settings.stamps / period + phase
        sway = np.sin(angle) - math.sin(phase)
    reach = rng.uniform([-0.3, -0.25, -0.12], [0.3, 0.25, 0.12])
    turn = rng.uniform(-0.09, 0.09)
    tilt = rng.uniform(-0.03, 0.03)
    positions = np.array([0.0, 0.0, height]) + sway[:, None] * reach
    rotations = np.stack([look(turn * s, pitch + tilt * s) for s in sway])
    return CameraPath(positions, rotations, fovy, moving)


def look(yaw: float, pitch: float) -> np.ndarray:
    right = np.array([math.cos(yaw), math.sin(yaw), 0.0])
    ahead = np.array([-math.sin(yaw), math.cos(yaw), 0.0])
    forward = math.cos(pitch) * ahead - np.array([0.0, 0.0, math.sin(pitch)])
    return np.column_stack([right, np.cross(right, forward), -forward])


def sample_path(
    rng: np.random.Generator,
    settings: WorldSettings,
    camera: CameraPath,
    request: PathRequest,
    neighbours: list[np.ndarray],
) -> np.ndarray:
    """A random path over the floor, (T, 2) metres, not yet checked against other objects.

    Some objects stand behind, in front of or next to a neighbour, or pass behind it; some paths
    cross the border of the view.

    Args:
        neighbours: floor points (2,) of still objects.
    """
    chance = rng.random()
    if request.kind == "still":
        if chance < 0.4 and neighbours:
            point = _near(rng, neighbours)
        else:
            point = _floor_point(rng, camera, rng.uniform(0.07, 0.93), settings)
        return np.repeat(point[None], settings.frames, axis=0)
    if chance < 0.25 and neighbours:
        blocker = neighbours[int(rng.integers(len(neighbours)))]
        middle = blocker * (1 + rng.uniform(0.55, 1.1) / np.linalg.norm(blocker))
    elif chance < 0.5:
        column = rng.uniform(-0.06, 0.12)
        middle = _floor_point(rng, camera, column if rng.random() < 0.5 else 1 - column, settings)
    else:
        middle = _floor_point(rng, camera, rng.uniform(0.22, 0.78), settings)
    distance = _distance(camera, middle)
    focal = focal_length(camera.fovy, settings.height) / settings.pixel_scale
    if request.kind == "lateral":
        travel = rng.uniform(29, 72) * distance / focal
        angle = rng.uniform(-0.4, 0.4)
        heading = np.array([request.side * math.cos(angle), math.sin(angle)])
    else:
        travel = rng.uniform(1.0, 1.7)
        angle = rng.uniform(-0.5, 0.5)
        heading = np.array([math.sin(angle), request.side * math.cos(angle)])
    speed = travel / _TRAVEL_SECONDS
    return middle + heading * advance(rng, speed, settings.stamps)[:, None]


def _near(rng: np.random.Generator, neighbours: list[np.ndarray]) -> np.ndarray:
    """A floor point (2,) behind, in front of or next to a neighbour, as seen from the origin."""
    neighbour = neighbours[int(rng.integers(len(neighbours)))]
    ahead = neighbour / np.linalg.norm(neighbour)
    along, across = rng.uniform(0.5, 1.2), rng.uniform(-0.15, 0.15)
    if rng.random() < 0.35:
        along, across = rng.uniform(-0.2, 0.2), rng.uniform(0.45, 0.9)
    signs = rng.choice([-1.0, 1.0], 2)
    return (
        neighbour + signs[0] * along * ahead + signs[1] * across * np.array([ahead[1], -ahead[0]])
    )


def advance(rng: np.random.Generator, speed: float, stamps: np.ndarray) -> np.ndarray:
    """Signed distance along the path, (T,) metres, about 0 at half the duration.

    The speed, in metres per second, varies by up to 12 %.
    """
    ripple = rng.uniform(0.0, 0.12)
    rate = rng.uniform(2.0, 5.0)
    phase = rng.uniform(0, 2 * math.pi)
    way = stamps + ripple / rate * np.sin(rate * stamps + phase)
    duration = stamps[-1]
    if duration > _PATROL_SECONDS:
        middle = _PATROL_SECONDS / 2
        folded = np.abs((way + rng.uniform(0, middle)) % (2 * _PATROL_SECONDS) - _PATROL_SECONDS)
        return speed * (middle - folded)
    return speed * (way - duration / 2)


def _floor_point(
    rng: np.random.Generator, camera: CameraPath, column: float, settings: WorldSettings
) -> np.ndarray:
    """A random floor point (2,) in an image column (0 left border, 1 right) of the first pose."""
    height = camera.positions[0, 2]
    while True:
        depth = rng.uniform(_NEAR, _FAR)
        if _MIN_SLANT < math.hypot(depth, height) < _MAX_SLANT:
            break
    point = np.array([0.0, depth])
    focal = focal_length(camera.fovy, settings.height)
    point[0] = (column - 0.5) * settings.width / focal * _distance(camera, point)
    return point


def _distance(camera: CameraPath, point: np.ndarray) -> float:
    """Distance along the axis of the first pose, metres, of an object's centre at a floor point."""
    raised = np.array([point[0], point[1], 0.25]) - camera.positions[0]
    return float(-raised @ camera.rotations[0][:, 2])
