# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Random scenes: objects with their appearance and motion, the room, and the camera.

World axes: x to the right and y away from the first camera pose along the floor, z up, metres.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from referdino_core.world.paths import (
    CameraPath,
    PathRequest,
    sample_camera,
    sample_path,
)
from referdino_core.world.settings import WorldSettings
from referdino_core.world.textures import TEXTURE_COUNT

SHAPES = ("ball", "box", "cylinder", "capsule")
SIZES = ("small", "big")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.06, 0.07),
    "green": (0.08, 0.62, 0.14),
    "blue": (0.08, 0.22, 0.88),
    "yellow": (0.96, 0.86, 0.08),
    "purple": (0.56, 0.14, 0.72),
    "orange": (1.00, 0.47, 0.03),
    "white": (0.95, 0.95, 0.95),
    "black": (0.045, 0.045, 0.05),
}
FINISHES = ((0.05, 0.1), (0.3, 0.4), (0.6, 0.8))
"""Specular reflection and shininess of the objects' surfaces, 0 to 1."""
MIN_OBJECTS = 3
MAX_OBJECTS = 7
_COUNT_WEIGHTS = (0.08, 0.2, 0.24, 0.24, 0.24)
_BASE_RADIUS = {"small": 0.19, "big": 0.345}
CLEARANCE = 0.06
_CAMERA_CLEARANCE = 1.9


@dataclass(frozen=True)
class Look:
    """Attributes of an object, as words."""

    shape: str
    colour: str
    size: str


@dataclass(frozen=True)
class Body:
    """An object for the renderer.

    Attributes:
        look: attributes of the object.
        extents: MuJoCo geom size (3,), metres.
        quaternion: (4,) w x y z.
        rgba: (4,) 0 to 1.
        finish: index in `FINISHES`.
        path: (T, 3) centre in metres.
        footprint: radius in metres of the circle on the floor that contains it.
        moving: whether it moves.
    """

    look: Look
    extents: np.ndarray
    quaternion: np.ndarray
    rgba: np.ndarray
    finish: int
    path: np.ndarray
    footprint: float
    moving: bool


@dataclass(frozen=True)
class Surface:
    """A floor or wall: texture index and rgba tint (4,)."""

    texture: int
    tint: np.ndarray


@dataclass(frozen=True)
class Wall:
    """A wall, `distance` metres from the origin; `normal` (2,) points from it into the room."""

    surface: Surface
    normal: np.ndarray
    distance: float


@dataclass(frozen=True)
class Lighting:
    """A directional light with fill light.

    Attributes:
        direction: (3,) unit vector.
        diffuse: (3,) 0 to 1.
        ambient, frontal: 0 to 1.
    """

    direction: np.ndarray
    diffuse: np.ndarray
    ambient: float
    frontal: float


@dataclass(frozen=True)
class Scene:
    """Everything that determines the pixels of a clip."""

    bodies: tuple[Body, ...]
    floor: Surface
    walls: tuple[Wall, ...]
    lighting: Lighting
    camera: CameraPath


def sample_scene(rng: np.random.Generator, settings: WorldSettings) -> Scene:
    """A scene drawn from `rng`, with paths at the stamps of `settings`.

    About 35 % of the cameras move. Most scenes with a still camera contain two objects that share
    attributes and differ in motion, so that "the ball moving left" cannot be resolved by "the ball"
    alone.
    """
    while True:
        camera = sample_camera(rng, settings)
        looks, requests = _sample_cast(rng, camera.moving)
        floor, walls, lighting = sample_room(rng)
        bodies = _place(rng, settings, camera, walls, looks, requests)
        if len(bodies) >= MIN_OBJECTS:
            return Scene(bodies, floor, walls, lighting, camera)


def _sample_cast(
    rng: np.random.Generator, camera_moves: bool
) -> tuple[list[Look], list[PathRequest]]:
    """Looks and requested motions; the first two objects are the pair whose motion differs."""
    counts = np.arange(MIN_OBJECTS, MAX_OBJECTS + 1)
    count = int(rng.choice(counts, p=_COUNT_WEIGHTS))
    looks = sample_looks(rng, count)
    requests = [PathRequest("still")] * count
    stories = ("opposed", "one moves", "mixed", "still")
    weights = (0.0, 0.0, 0.4, 0.6) if camera_moves else (0.42, 0.3, 0.2, 0.08)
    story = str(rng.choice(stories, p=weights))
    side = float(rng.choice([-1.0, 1.0]))
    if story == "opposed":
        requests[0] = PathRequest("lateral", side)
        requests[1] = PathRequest("lateral", -side)
    elif story == "one moves":
        requests[0] = PathRequest("lateral", side)
    spare = 0 if story == "mixed" else 2
    chance = {"opposed": 0.15, "one moves": 0.15, "mixed": 0.45, "still": 0.0}[story]
    for number in range(spare, count):
        if rng.random() < chance:
            way = float(rng.choice([-1.0, 1.0]))
            lateral = rng.random() < 0.65
            requests[number] = PathRequest("lateral" if lateral else "depth", way)
    return looks, requests


def sample_looks(rng: np.random.Generator, count: int) -> list[Look]:
    """Random looks from a small palette, so that distractors share colour, shape or both."""
    shapes = rng.permutation(SHAPES)[: rng.integers(2, 5)]
    colours = rng.permutation(list(COLOURS))[: rng.integers(2, 5)]
    size, other_size = rng.choice(SIZES, 2)
    shared = rng.random()
    first = Look(str(shapes[0]), str(colours[0]), str(size))
    second = Look(
        first.shape if shared < 0.8 else str(shapes[1]),
        first.colour if shared < 0.5 or shared >= 0.8 else str(colours[1]),
        first.size if rng.random() < 0.6 else str(other_size),
    )
    looks = [first, second]
    for number in range(2, count):
        shape = str(rng.choice(shapes))
        colour = str(rng.choice(colours[1:] if number == 2 else colours))
        looks.append(Look(shape, colour, str(rng.choice(SIZES))))
    return looks


def _place(
    rng: np.random.Generator,
    settings: WorldSettings,
    camera: CameraPath,
    walls: tuple[Wall, ...],
    looks: list[Look],
    requests: list[PathRequest],
) -> tuple[Body, ...]:
    """Place the objects on free paths, in random order; objects without a free path are dropped."""
    bodies: list[Body] = []
    for look, request in zip(looks, requests, strict=True):
        extents, quaternion, height, footprint = sample_form(rng, look)
        neighbours = [body.path[0, :2] for body in bodies if not body.moving]
        for _ in range(40):
            floor_path = sample_path(rng, settings, camera, request, neighbours)
            if not _is_free(floor_path, footprint, bodies, walls):
                continue
            path = np.column_stack([floor_path, np.full(len(floor_path), height)])
            moving = request.kind != "still"
            rgba = sample_rgba(rng, look.colour)
            finish = int(rng.integers(len(FINISHES)))
            bodies.append(Body(look, extents, quaternion, rgba, finish, path, footprint, moving))
            break
    return tuple(bodies[number] for number in rng.permutation(len(bodies)))


def _is_free(
    floor_path: np.ndarray, footprint: float, bodies: list[Body], walls: tuple[Wall, ...]
) -> bool:
    """Whether the path keeps clear of the other objects, the walls and the camera."""
    if np.hypot(*floor_path.T).min() < _CAMERA_CLEARANCE:
        return False
    for body in bodies:
        gaps = np.hypot(*(floor_path - body.path[:, :2]).T) - footprint - body.footprint
        if gaps.min() < CLEARANCE:
            return False
    return all(
        (floor_path @ wall.normal + wall.distance).min() > footprint + CLEARANCE for wall in walls
    )


def sample_form(
    rng: np.random.Generator, look: Look
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """MuJoCo size, orientation, height of the centre above the floor, and footprint radius."""
    base = _BASE_RADIUS[look.size] * rng.uniform(0.94, 1.06)
    yaw = rng.uniform(0, 2 * math.pi)
    upright = np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
    if look.shape == "ball":
        return np.full(3, base), upright, base, base
    if look.shape == "box":
        extents = 0.85 * base * rng.uniform(0.92, 1.08, 3)
        return extents, upright, extents[2], float(np.hypot(extents[0], extents[1]))
    if look.shape == "cylinder":
        radius, half, reach = 0.76 * base, 0.95 * base, 0.95 * base
        lies = rng.random() < 0.2
    else:
        radius, half = 0.54 * base, 0.66 * base
        reach = half + radius
        lies = rng.random() < 0.5
    extents = np.array([radius, half, 0.0])
    if not lies:
        return extents, upright, reach, radius
    quarter = math.sqrt(0.5)
    lying = quarter * np.array(
        [math.cos(yaw / 2), math.cos(yaw / 2), math.sin(yaw / 2), math.sin(yaw / 2)]
    )
    return extents, lying, radius, float(np.hypot(reach, radius))


def sample_rgba(rng: np.random.Generator, colour: str) -> np.ndarray:
    hue, saturation, value = colorsys.rgb_to_hsv(*COLOURS[colour])
    if saturation > 0.5:
        hue = (hue + rng.uniform(-0.012, 0.012)) % 1.0
        saturation *= rng.uniform(0.92, 1.0)
        value *= rng.uniform(0.92, 1.0)
    else:
        value *= rng.uniform(0.96, 1.0)
    return np.array([*colorsys.hsv_to_rgb(hue, saturation, value), 1.0])


def sample_room(
    rng: np.random.Generator, enclosed: bool = False
) -> tuple[Surface, tuple[Wall, ...], Lighting]:
    """Random floor, walls and light, with a wall behind the objects and on one or both sides.

    Args:
        enclosed: whether there are always walls on both sides.
    """
    turn = rng.uniform(-0.35, 0.35)
    sides = [(0.0, rng.uniform(5.0, 6.5))]
    first_side = float(rng.choice([-1.0, 1.0]))
    sides.append((first_side, rng.uniform(2.7, 4.0)))
    if enclosed or rng.random() < 0.5:
        sides.append((-first_side, rng.uniform(2.7, 4.0)))
    walls = []
    one_paint = rng.random() < 0.5
    paint = _sample_surface(rng)
    for side, distance in sides:
        angle = turn - side * math.pi / 2
        normal = np.array([math.sin(angle), -math.cos(angle)])
        walls.append(Wall(paint if one_paint else _sample_surface(rng), normal, distance))
    azimuth = rng.uniform(0, 2 * math.pi)
    slope = rng.uniform(0.25, 0.75)
    direction = np.array([slope * math.cos(azimuth), slope * math.sin(azimuth), -1.0])
    warmth = rng.uniform(-0.05, 0.05)
    diffuse = rng.uniform(0.52, 0.8) * np.array([1 + warmth, 1.0, 1 - warmth])
    lighting = Lighting(
        direction / np.linalg.norm(direction),
        diffuse,
        float(rng.uniform(0.28, 0.42)),
        float(rng.uniform(0.1, 0.25)),
    )
    return _sample_surface(rng), tuple(walls), lighting


def _sample_surface(rng: np.random.Generator) -> Surface:
    """A random surface of low saturation and medium brightness, which sets off white and black."""
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.0, 0.3), rng.uniform(0.5, 0.85))
    return Surface(int(rng.integers(TEXTURE_COUNT)), np.array([*rgb, 1.0]))
