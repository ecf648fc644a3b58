# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whether an episode can be driven: nothing touches anything, and the way to the target is free."""

from __future__ import annotations

import numpy as np

from referdino_core.simulation.episode import SCREEN, Episode
from referdino_core.simulation.room import MAX_BODIES, floor_distance
from referdino_core.world.scene import Body

GAP = 0.12
"""Metres that are kept between things, and beside the robot's way to its target."""
_PURSUIT = 0.3
"""Metres per second of a robot that pursues its target."""
_NEARER = 0.25
"""Metres by which a target may come nearer than it is to be kept away."""


def is_free(episode: Episode) -> bool:
    """Whether everything stays within the walls and apart, and the robot's way is free."""
    if not 3 <= len(episode.bodies) <= MAX_BODIES:
        return False
    times = np.arange(0.0, episode.duration, 0.2)
    paths = [motion.at(times) for motion in episode.motions]
    for slot, (body, path) in enumerate(zip(episode.bodies, paths, strict=True)):
        for wall in episode.walls:
            if (path @ wall.normal + wall.distance).min() < body.footprint + 0.02:
                return False
        for other in range(slot):
            if _apart(body, path, episode.bodies[other], paths[other]) < 0.05:
                return False
    return episode.target is None or _has_free_way(episode, times, paths, episode.target)


def _has_free_way(
    episode: Episode, times: np.ndarray, paths: list[np.ndarray], target: int
) -> bool:
    """Whether a robot that goes straight for its target touches nothing.

    Also where it waits while things happen and goes on afterwards; and the target does not come
    much nearer than it keeps away: what comes at a robot is faced, not fled from.
    """
    begin, end = episode.event
    for pause in ((0.0, 0.0), (begin + 1.0, end)):
        robot = np.array([episode.start.x, episode.start.y])
        for tick, seconds in enumerate(times):
            offset = paths[target][tick] - robot
            reach = float(np.hypot(*offset)) - episode.bodies[target].footprint
            if reach < episode.distance - _NEARER:
                return False
            if not pause[0] <= seconds < pause[1]:
                step = min(_PURSUIT * (times[1] - times[0]), max(reach - episode.distance, 0.0))
                robot = robot + step * offset / np.hypot(*offset)
            for slot, body in enumerate(episode.bodies):
                here = paths[slot][tick]
                if slot != target and _gap(body, here[None], robot) < 0.2 + GAP:
                    return False
    return True


def _apart(body: Body, path: np.ndarray, other: Body, other_path: np.ndarray) -> float:
    """Least distance of two bodies, metres, of which one may be a screen."""
    if other.look.colour == SCREEN:
        body, path, other, other_path = other, other_path, body, path
    return _gap(body, path - other_path, np.zeros(2)) - other.footprint


def _gap(body: Body, path: np.ndarray, point: np.ndarray) -> float:
    """Least distance of a point from a body, metres: from a screen's outline, else its circle."""
    if body.look.colour != SCREEN:
        return float(np.hypot(*(path - point).T).min()) - body.footprint
    around = [
        floor_distance(body, place, (point[0], point[1])) for place in np.unique(path, axis=0)
    ]
    return min(around)
