# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes sampled from a seed, a kind for each split.

Objects and rooms are those of the world of `nano`; beside them there may be a grey screen, which
no sentence speaks of, to hide things behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.following.geometry import Pose
from referdino_core.simulation.episode import SCREEN, Episode, Motion
from referdino_core.simulation.free_ways import GAP, is_free
from referdino_core.simulation.room import floor_distance
from referdino_core.world import WorldSettings
from referdino_core.world.scene import Body, Look, Scene, Wall, sample_scene

SPLITS = ("static", "moving", "occlusion", "distractors", "absent")
"""Kinds of episodes: the target stands; it moves; something hides it; a twin passes by; the
sentence is true of nothing."""

_ROOT_SEED = 20261
_ATTEMPTS = 4000
"""Scenes that are tried; one in seventy has room for a twin that passes by."""
_FARTHEST = 4.3
"""Metres to a target at the start: as far as `nano` was trained to see things."""
_START = Pose(0.0, -0.5, math.pi / 2)
DISTANCES = (1.9, 2.2)
"""Metres to keep from a target: as near as `nano` was trained to see things."""


def episode_generator(split: str, index: int) -> np.random.Generator:
    """The random generator of one episode.

    Raises:
        ReferDINOError: the split is unknown or the index below zero.
    """
    if split not in SPLITS:
        raise ReferDINOError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    if index < 0:
        raise ReferDINOError(f"The episode's index is {index}; give a whole number from 0.")
    key = (SPLITS.index(split), index)
    return np.random.default_rng(np.random.SeedSequence(_ROOT_SEED, spawn_key=key))


def sample_episode(
    split: str,
    rng: np.random.Generator,
    index: int = 0,
    distances: tuple[float, float] = DISTANCES,
) -> Episode:
    """An episode drawn from `rng`; the same one from a generator in the same state.

    The way to the target is free, for no follower here steers around things.

    Args:
        distances: between which the distance is drawn that is to be kept, metres.

    Raises:
        ReferDINOError: the split is unknown.
    """
    stage = _STAGES.get(split)
    if stage is None:
        raise ReferDINOError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    for _ in range(_ATTEMPTS):
        scene = sample_scene(rng, WorldSettings(frames=1))
        episode = _furnished(scene, split, index, distances, rng)
        staged = stage(episode, rng)
        if staged is not None and is_free(staged):
            return staged
    raise ReferDINOError(f"No episode of the split {split!r} was found in {_ATTEMPTS} scenes.")


def _furnished(
    scene: Scene,
    split: str,
    index: int,
    distances: tuple[float, float],
    rng: np.random.Generator,
) -> Episode:
    """An episode in which everything stands where the scene has it; the target is to be chosen."""
    return Episode(
        split,
        index,
        scene.bodies,
        tuple(Motion.still(body.path[0, :2]) for body in scene.bodies),
        scene.floor,
        _closed_room(scene.walls),
        scene.lighting,
        None,
        None,
        replace(_START, yaw=_START.yaw + rng.uniform(-0.12, 0.12)),
        float(rng.uniform(44, 49)),
        (0.0, 0.0),
        float(rng.uniform(*distances)),
        30.0,
    )


def _closed_room(walls: tuple[Wall, ...]) -> tuple[Wall, ...]:
    """The walls with what is missing of four: the second side, and the one behind the robot."""
    front, side = walls[0], walls[1]
    sides = walls[1:] if len(walls) == 3 else (side, Wall(side.surface, -side.normal, 3.3))
    return (front, *sides, Wall(front.surface, -front.normal, 2.2))


def _stage_static(episode: Episode, rng: np.random.Generator) -> Episode | None:
    target = _chosen(episode, rng)
    return None if target is None else replace(episode, target=target)


def _stage_moving(episode: Episode, rng: np.random.Generator) -> Episode | None:
    """The target goes from point to point, the others stand where they are not in its way."""
    target = _chosen(episode, rng)
    if target is None:
        return None
    points = [episode.motions[target].points[0]]
    for _ in range(8):
        points.append(np.array([rng.uniform(-1.7, 1.7), rng.uniform(2.3, 4.4)]))
    motion = Motion.along(points, float(rng.uniform(0.08, 0.2)), start=2.0)
    motions = tuple(
        motion if slot == target else still for slot, still in enumerate(episode.motions)
    )
    moved = replace(episode, motions=motions, target=target, duration=25.0, event=(2.0, 15.0))
    return _without_obstacles(moved)


def _stage_distractors(episode: Episode, rng: np.random.Generator) -> Episode | None:
    """A twin of the target passes behind it or beside it, from outside of the view."""
    target = _chosen(episode, rng)
    if target is None or len(episode.bodies) < 5:
        return None
    centre = episode.motions[target].points[0]
    ahead = _sight_line(episode, centre)
    across = np.array([ahead[1], -ahead[0]]) * rng.choice([-1.0, 1.0])
    gap = 2 * episode.bodies[target].footprint + rng.uniform(0.15, 0.5)
    passing = centre + gap * ahead
    begin, end = passing - 3.2 * across, passing + 3.2 * across
    speed, start = float(rng.uniform(0.3, 0.5)), float(rng.uniform(0.5, 2.0))
    motion = Motion.along([begin, end], speed, start=start)
    staged = replace(
        episode,
        bodies=(*episode.bodies, episode.bodies[target]),
        motions=(*episode.motions, motion),
        target=target,
        twin=len(episode.bodies),
        event=(start, float(motion.times[-1])),
        duration=max(30.0, float(motion.times[-1]) + 4.0),
    )
    return _without_obstacles(staged)


def _stage_occlusion(episode: Episode, rng: np.random.Generator) -> Episode | None:
    """A screen passes before the target, stays there for 5 s, or stands where it passes."""
    target = _chosen(episode, rng)
    if target is None:
        return None
    centre = episode.motions[target].points[0]
    ahead = _sight_line(episode, centre)
    across = np.array([ahead[1], -ahead[0]]) * rng.choice([-1.0, 1.0])
    body = episode.bodies[target]
    screen = _screen(float(rng.uniform(0.3, 0.45)), math.atan2(across[1], across[0]), rng)
    gap = body.footprint + screen.extents[1] + rng.uniform(0.15, 0.3)
    middle = centre - gap * ahead
    story = str(rng.choice(["passes", "stays", "behind"]))
    start = float(rng.uniform(3.0, 5.0))
    motions = list(episode.motions)
    if story == "behind":
        beside = centre - 1.1 * across
        motions[target] = Motion.along([beside, beside + 2.2 * across], 0.25, start)
        screening = Motion.still(middle)
        event = (start, float(motions[target].times[-1]))
    else:
        speed = float(rng.uniform(0.35, 0.5))
        begin, end = middle - 2.2 * across, middle + 2.2 * across
        screening = Motion.along([begin, end], speed, start)
        if story == "stays":
            screening = _pausing(screening, 5.0)
        event = (start, float(screening.times[-1]))
    staged = replace(
        episode,
        bodies=(*episode.bodies, screen),
        motions=(*motions, screening),
        target=target,
        event=event,
        duration=max(30.0, event[1] + 10.0),
    )
    return _without_obstacles(staged)


def _sight_line(episode: Episode, point: np.ndarray) -> np.ndarray:
    """(2,) unit vector from the robot's start to a point."""
    line = point - (episode.start.x, episode.start.y)
    return line / np.hypot(*line)


def _stage_absent(episode: Episode, rng: np.random.Generator) -> Episode | None:
    return replace(episode, duration=12.0)


_STAGES: dict[str, Callable[[Episode, np.random.Generator], Episode | None]] = {
    "static": _stage_static,
    "moving": _stage_moving,
    "occlusion": _stage_occlusion,
    "distractors": _stage_distractors,
    "absent": _stage_absent,
}


def _screen(half_width: float, yaw: float, rng: np.random.Generator) -> Body:
    """A grey box, taller than the camera's line of sight to what is behind it."""
    grey = rng.uniform(0.35, 0.6)
    quaternion = np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
    extents = np.array([half_width, 0.06, 0.6])
    return Body(
        Look("box", SCREEN, "big"),
        extents,
        quaternion,
        np.array([grey, grey, grey, 1.0]),
        0,
        np.array([[0.0, 0.0, 0.6]]),
        float(np.hypot(extents[0], extents[1])),
        True,
    )


def _pausing(motion: Motion, seconds: float) -> Motion:
    """The motion with a pause halfway between its two points."""
    first, last = motion.times
    half = (first + last) / 2
    middle = motion.points.mean(axis=0)
    points = np.stack([motion.points[0], middle, middle, motion.points[1]])
    return Motion(np.array([first, half, half + seconds, last + seconds]), points)


def _chosen(episode: Episode, rng: np.random.Generator) -> int | None:
    """An object whose colour and shape no other has, far enough to be approached, near enough to be
    seen.
    """
    looks = [(body.look.colour, body.look.shape) for body in episode.bodies]
    start = (episode.start.x, episode.start.y)
    fitting = [
        slot
        for slot, body in enumerate(episode.bodies)
        if looks.count(looks[slot]) == 1
        and episode.distance + 0.5
        < floor_distance(body, episode.motions[slot].points[0], start)
        < _FARTHEST
    ]
    return int(rng.choice(fitting)) if fitting else None


def _without_obstacles(episode: Episode) -> Episode:
    """The episode without the things that stand in the way of those that move."""
    moving = [slot for slot, motion in enumerate(episode.motions) if len(motion.times) > 1]
    special = {episode.target, episode.twin, *moving}
    times = np.arange(0.0, episode.duration, 0.2)
    kept = []
    for slot, body in enumerate(episode.bodies):
        room = True
        for other in special - {slot}:
            if other is None or slot in special or episode.bodies[slot].look.colour == SCREEN:
                continue
            apart = np.hypot(*(episode.motions[other].at(times) - episode.motions[slot].at(0.0)).T)
            room &= bool(apart.min() > body.footprint + episode.bodies[other].footprint + GAP)
        if room:
            kept.append(slot)
    place = {slot: number for number, slot in enumerate(kept)}
    return replace(
        episode,
        bodies=tuple(episode.bodies[slot] for slot in kept),
        motions=tuple(episode.motions[slot] for slot in kept),
        target=None if episode.target is None else place[episode.target],
        twin=None if episode.twin is None else place[episode.twin],
    )
