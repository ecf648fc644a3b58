# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Random scenes seen by a small robot: from low above the floor, standing, turning or driving.

World axes: x to the right and y ahead along the robot's mean heading on the floor, z up, metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from referdino_core.world.paths import CameraPath, advance, look
from referdino_core.world.scene import (
    CLEARANCE,
    FINISHES,
    MAX_OBJECTS,
    MIN_OBJECTS,
    Body,
    Look,
    Scene,
    Wall,
    sample_form,
    sample_looks,
    sample_rgba,
    sample_room,
)
from referdino_core.world.settings import WorldSettings

_MOTIONS = ("stands", "turns", "drives", "turns and drives")
_MOTION_WEIGHTS = (0.42, 0.3, 0.1, 0.18)
_MIN_TURN, _MAX_TURN = 0.1, 1.3
_NEAR, _FAR = 1.3, 4.3
_CAMERA_CLEARANCE = 0.75
_TWINS = 0.3
"""Fraction of scenes in which two objects look the same."""
_ATTEMPTS = 40


@dataclass(frozen=True)
class _View:
    """Half of the angle that a robot's camera covers over the clip, and its path."""

    half_angle: float
    camera: CameraPath


def sample_robot_scene(rng: np.random.Generator, settings: WorldSettings) -> Scene:
    """A scene drawn from `rng`, with paths at the stamps of `settings`.

    Objects are distributed over the whole area that the turning camera covers, so that they enter
    and leave the view and pass behind each other. Most scenes with a still camera contain two
    objects that share attributes and differ in motion.
    """
    while True:
        view = _sample_view(rng, settings)
        floor, walls, lighting = sample_room(rng, enclosed=True)
        looks = _sample_looks(rng)
        bodies: list[Body] = []
        headings = _sample_headings(rng, len(looks), view.camera.moving)
        for appearance, heading in zip(looks, headings, strict=True):
            body = _place(rng, settings, view, walls, bodies, appearance, heading)
            if body is not None:
                bodies.append(body)
        if len(bodies) >= MIN_OBJECTS:
            shuffled = tuple(bodies[number] for number in rng.permutation(len(bodies)))
            return Scene(shuffled, floor, walls, lighting, view.camera)


def _sample_view(rng: np.random.Generator, settings: WorldSettings) -> _View:
    motion = str(rng.choice(_MOTIONS, p=_MOTION_WEIGHTS))
    rate = rng.uniform(_MIN_TURN, _MAX_TURN) if "turns" in motion else 0.0
    speed = rng.uniform(0.1, 0.45) if "drives" in motion else 0.0
    if settings.turn is not None:
        rate = settings.turn
    if settings.drive is not None:
        speed = settings.drive
    height, pitch = rng.uniform(0.25, 0.6), rng.uniform(0.02, 0.2)
    fovy = float(rng.uniform(43, 50))
    reach = rng.uniform(0.15, 0.5) if rate else 0.0
    yaws = _swing(settings.stamps * rate + rng.uniform(0, 4 * reach), reach) * rng.choice([-1, 1])
    tremble = 0.004 * rng.standard_normal((settings.frames, 2)) if rate or speed else np.zeros(2)
    yaws, pitches = np.transpose(np.column_stack([yaws, np.full(settings.frames, pitch)]) + tremble)
    ahead = np.column_stack([-np.sin(yaws), np.cos(yaws), np.zeros(settings.frames)])
    seconds = np.diff(settings.stamps, prepend=0.0)
    positions = np.array([0.0, 0.0, height]) + np.cumsum(speed * seconds[:, None] * ahead, axis=0)
    rotations = np.stack([look(yaw, tilt) for yaw, tilt in zip(yaws, pitches, strict=True)])
    aspect = settings.width / settings.height
    half_angle = math.atan(math.tan(math.radians(fovy) / 2) * aspect) + reach
    return _View(half_angle, CameraPath(positions, rotations, fovy, bool(rate or speed)))


def _swing(angle: np.ndarray, reach: float) -> np.ndarray:
    """Back and forth between -reach and reach at a constant rate, for a growing angle."""
    if not reach:
        return np.zeros_like(angle)
    return reach - np.abs((angle + reach) % (4 * reach) - 2 * reach)


def _sample_looks(rng: np.random.Generator) -> list[Look]:
    looks = sample_looks(rng, int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1)))
    if rng.random() < _TWINS:
        looks[1] = looks[0]
    return looks


def _sample_headings(
    rng: np.random.Generator, count: int, camera_moves: bool
) -> list[tuple[float, float] | None]:
    """Random heading of each object, None for still ones.

    A heading is its components across (-1 left, 1 right) and away (-1 nearer, 1 away). The first
    two objects differ: only one of them moves, or they move in opposite directions.
    """
    headings: list[tuple[float, float] | None] = [None] * count
    side = float(rng.choice([-1.0, 1.0]))
    chance = rng.random()
    if chance < (0.35 if camera_moves else 0.85):
        headings[0] = (side, rng.uniform(-0.4, 0.4))
        if chance < (0.1 if camera_moves else 0.5):
            headings[1] = (-side, rng.uniform(-0.4, 0.4))
    for number in range(2, count):
        if rng.random() < 0.2:
            angle = rng.uniform(0, 2 * math.pi)
            headings[number] = (math.cos(angle), math.sin(angle))
    return headings


def _place(
    rng: np.random.Generator,
    settings: WorldSettings,
    view: _View,
    walls: tuple[Wall, ...],
    bodies: list[Body],
    appearance: Look,
    heading: tuple[float, float] | None,
) -> Body | None:
    """An object on a free path, or None if there is none."""
    extents, quaternion, height, footprint = sample_form(rng, appearance)
    for _ in range(_ATTEMPTS):
        path = _sample_path(rng, settings, view, bodies, heading)
        if not _is_free(path, footprint, view, walls, bodies):
            continue
        return Body(
            look=appearance,
            extents=extents,
            quaternion=quaternion,
            rgba=sample_rgba(rng, appearance.colour),
            finish=int(rng.integers(len(FINISHES))),
            path=np.column_stack([path, np.full(settings.frames, height)]),
            footprint=footprint,
            moving=heading is not None,
        )
    return None


def _sample_path(
    rng: np.random.Generator,
    settings: WorldSettings,
    view: _View,
    bodies: list[Body],
    heading: tuple[float, float] | None,
) -> np.ndarray:
    """A random path over the floor, (T, 2) metres.

    A third of the objects stand or pass behind another one; some cross the border of the view.
    """
    standing = [body.path[0, :2] for body in bodies if not body.moving]
    if standing and rng.random() < 0.35:
        other = standing[int(rng.integers(len(standing)))]
        away = other / np.linalg.norm(other)
        middle = other + rng.uniform(0.5, 1.2) * away
        middle = middle + rng.uniform(-0.2, 0.2) * np.array([away[1], -away[0]])
    else:
        bearing = rng.uniform(-0.95, 0.95) * view.half_angle
        if heading is not None and rng.random() < 0.3:
            bearing = math.copysign(rng.uniform(0.85, 1.05) * view.half_angle, bearing)
        distance = math.sqrt(rng.uniform(_NEAR**2, _FAR**2))
        middle = distance * np.array([math.sin(bearing), math.cos(bearing)])
    if heading is None:
        return np.repeat(middle[None], settings.frames, axis=0)
    away = middle / np.linalg.norm(middle)
    across = np.array([away[1], -away[0]])
    direction = heading[0] * across + heading[1] * away
    # Fast enough to be distinguished from standing: a sixth to half of the image per second.
    speed = rng.uniform(0.17, 0.5) * float(np.linalg.norm(middle))
    return middle + direction * advance(rng, speed, settings.stamps)[:, None]


def _is_free(
    path: np.ndarray, footprint: float, view: _View, walls: tuple[Wall, ...], bodies: list[Body]
) -> bool:
    """Whether a path keeps clear of the camera, the walls and the other objects."""
    camera = view.camera.positions[:, :2]
    if np.linalg.norm(path - camera, axis=1).min() < _CAMERA_CLEARANCE + footprint:
        return False
    for body in bodies:
        gaps = np.linalg.norm(path - body.path[:, :2], axis=1) - footprint - body.footprint
        if gaps.min() < CLEARANCE:
            return False
    return all((path @ wall.normal + wall.distance).min() > footprint + CLEARANCE for wall in walls)
