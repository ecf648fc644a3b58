# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What can be said of an episode in its first image: a sentence for its target, or for nothing."""

from __future__ import annotations

import numpy as np

from referdino_core.following.geometry import Intrinsics, Mounting
from referdino_core.simulation.episode import Episode
from referdino_core.simulation.simulator import Frame
from referdino_core.world import Expression, SceneObject, WorldSettings
from referdino_core.world.expressions import enumerate_expressions
from referdino_core.world.observation import Observation

_ATTRIBUTE_SHARE = 0.75
"""Of the sentences that name what a thing looks like, not where it is."""


def sentence_for(
    episode: Episode,
    frame: Frame,
    intrinsics: Intrinsics,
    mounting: Mounting,
    rng: np.random.Generator,
) -> str | None:
    """A sentence that is true of the episode's target alone, or of nothing where it has none.

    The words are the world's. In the split "static" one of four sentences says where the target is
    or what it is beside; elsewhere things move, and sentences name looks alone.

    Returns:
        None where there is no such sentence, as when the target is hardly seen.
    """
    found = _expressions(episode, frame, intrinsics, mounting, rng)
    if episode.target is None:
        fitting = [one.text for one in found if one.kind == "absent"]
    else:
        mine = [one for one in found if one.target == episode.target + 1]
        looks = [one.text for one in mine if one.kind == "attribute"]
        places = [one.text for one in mine if one.kind in ("location", "relation")]
        wants_looks = episode.split != "static" or rng.random() < _ATTRIBUTE_SHARE
        fitting = looks if wants_looks else places or looks
    return str(rng.choice(fitting)) if fitting else None


def _expressions(
    episode: Episode,
    frame: Frame,
    intrinsics: Intrinsics,
    mounting: Mounting,
    rng: np.random.Generator,
) -> tuple[Expression, ...]:
    seconds = 0.0
    centres = episode.centres(seconds)
    turn = np.eye(3)
    turn[:2, :2] = episode.start.rotation
    offset = np.array([episode.start.x, episode.start.y, 0.0])
    objects = []
    for slot, body in enumerate(episode.bodies):
        base = turn.T @ (centres[slot] - offset)
        optical = mounting.rotation.T @ (base - (mounting.x, mounting.y, mounting.z))
        depth = max(float(optical[2]), 0.05)
        pixel = (
            intrinsics.cx + intrinsics.fx * optical[0] / depth,
            intrinsics.cy + intrinsics.fy * optical[1] / depth,
        )
        objects.append(
            SceneObject(
                body.look.shape,
                body.look.colour,
                body.look.size,
                False,
                (0.0, 0.0),
                centres[slot][None],
                np.array([pixel]),
                np.array([float(optical[2])]),
                np.array([np.count_nonzero(frame.labels == slot + 1)]),
            )
        )
    height, width = frame.depth.shape
    settings = WorldSettings(width=width, height=height, frames=1)
    observation = Observation(tuple(objects), settings, camera_moves=True)
    return enumerate_expressions(rng, observation)
