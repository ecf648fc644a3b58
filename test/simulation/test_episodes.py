# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes: the same from the same seed, free of collisions, and what their split says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from referdino_core.errors import ReferDINOError
from referdino_core.simulation import SPLITS, Motion, episode_generator, sample_episode
from referdino_core.simulation.room import floor_distance
from referdino_core.world.scene import Body, Look


@pytest.mark.parametrize("split", SPLITS)
def test_an_episode_is_the_same_again_and_nothing_runs_into_anything(split: str) -> None:
    for index in range(4):
        episode = sample_episode(split, episode_generator(split, index), index)
        again = sample_episode(split, episode_generator(split, index), index)
        moments = np.arange(0.0, episode.duration, 0.5)
        for seconds in moments:
            centres = episode.centres(seconds)
            np.testing.assert_array_equal(centres, again.centres(seconds))
            for slot, body in enumerate(episode.bodies):
                for wall in episode.walls:
                    assert centres[slot, :2] @ wall.normal + wall.distance > 0.1
                apart = [
                    floor_distance(body, centres[slot], tuple(centres[other, :2]))
                    for other in range(len(centres))
                    if other != slot
                ]
                assert min(apart) > 0.05
        assert (episode.target is None) == (split == "absent")


def test_splits_stage_what_they_say() -> None:
    moving = sample_episode("moving", episode_generator("moving", 1))
    assert moving.target is not None
    speeds = np.diff(moving.motions[moving.target].at(np.arange(3.0, 20.0, 0.1)), axis=0) / 0.1
    assert 0.05 < np.hypot(*speeds.T).max() < 0.21
    twins = sample_episode("distractors", episode_generator("distractors", 1))
    assert twins.target is not None and twins.twin is not None
    assert twins.bodies[twins.twin] is twins.bodies[twins.target]
    hidden = sample_episode("occlusion", episode_generator("occlusion", 1))
    assert sum(body.look.colour == "grey" for body in hidden.bodies) == 1


def test_an_episode_is_found_where_hardly_a_scene_has_room_for_it() -> None:
    index = 220  # its 406th scene is the first one in which a twin can pass by
    episode = sample_episode("distractors", episode_generator("distractors", index), index)
    assert episode.target is not None and episode.twin is not None


def test_unknown_splits_and_indices_are_refused() -> None:
    with pytest.raises(ReferDINOError, match="choose one of static, moving"):
        episode_generator("flying", 0)
    with pytest.raises(ReferDINOError, match="whole number from 0"):
        episode_generator("static", -1)


def test_a_motion_waits_goes_and_stays() -> None:
    motion = Motion.along([np.array([0.0, 0.0]), np.array([0.0, 1.0])], 0.5, start=2.0)
    np.testing.assert_allclose(motion.at(1.0), [0.0, 0.0])
    np.testing.assert_allclose(motion.at(3.0), [0.0, 0.5])
    np.testing.assert_allclose(motion.at(np.array([4.0, 9.0])), [[0.0, 1.0]] * 2)


def body(shape: str, extents: tuple[float, float, float], quaternion: np.ndarray) -> Body:
    still = np.zeros((1, 3))
    size = np.array(extents)
    return Body(Look(shape, "red", "small"), size, quaternion, np.ones(4), 0, still, 0.3, False)


def test_distances_along_the_floor_in_closed_form() -> None:
    upright = np.array([1.0, 0.0, 0.0, 0.0])
    turned = np.array([math.cos(math.pi / 8), 0.0, 0.0, math.sin(math.pi / 8)])
    lying = math.sqrt(0.5) * np.array([1.0, 1.0, 0.0, 0.0])
    centre = np.array([1.0, 0.0, 0.2])
    origin = (0.0, 0.0)
    assert floor_distance(body("ball", (0.2, 0.2, 0.2), upright), centre, origin) == pytest.approx(
        0.8
    )
    box = (0.2, 0.1, 0.3)
    assert floor_distance(body("box", box, upright), centre, origin) == pytest.approx(0.8)
    corner = math.hypot(1 - 0.2 * math.sqrt(2), 0.0)
    square = body("box", (0.2, 0.2, 0.3), turned)
    assert floor_distance(square, centre, origin) == pytest.approx(corner)
    assert floor_distance(square, centre, (1.0, 0.0)) == 0.0
    standing = body("cylinder", (0.15, 0.3, 0.0), upright)
    assert floor_distance(standing, centre, origin) == pytest.approx(0.85)
    # Lying along y: a cylinder is 0.15 m from its middle here, 0.3 m lengthwise.
    along_y = body("cylinder", (0.15, 0.3, 0.0), lying)
    assert floor_distance(along_y, centre, origin) == pytest.approx(0.85)
    assert floor_distance(along_y, centre, (1.0, -1.0)) == pytest.approx(0.7)
    capsule = body("capsule", (0.15, 0.3, 0.0), lying)
    assert floor_distance(capsule, centre, (1.0, -1.0)) == pytest.approx(0.55)
