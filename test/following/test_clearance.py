# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The corridor ahead: what is in it, what is remembered of it, and a robot that drives by it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from follow_loop import RADIUS, Loop

from referdino_core.following import FollowState, Intrinsics, Mounting, Observation, Pose
from referdino_core.following.clearance import Corridor, CorridorSettings

CAMERA = Intrinsics(160, 120, 150.0, 150.0, 79.5, 59.5)
MOUNTING = Mounting(x=0.1, z=0.5)
NOTHING = np.zeros((120, 160), bool)
Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""From and to, along x, y and z of the odometry frame."""


def rendered(pose: Pose, boxes: Sequence[Box], near: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) of a floor with boxes, NaN nearer than `near`, and which box shows; -1: none."""
    rows, columns = (one.ravel() for one in np.mgrid[:120, :160])
    rays = CAMERA.rays(rows, columns) @ MOUNTING.rotation.T
    rays[:, :2] = rays[:, :2] @ pose.rotation.T
    x, y = pose.outward(np.array([MOUNTING.x, MOUNTING.y]))
    start = np.array([x, y, MOUNTING.z])
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[:, 2] < 0, -start[2] / rays[:, 2], np.inf)
        shown = np.full(len(rays), -1)
        for number, box in enumerate(boxes):
            low, high = np.array(box).T
            ends = np.sort([(low - start) / rays, (high - start) / rays], axis=0)
            enter, leave = np.nanmax(ends[0], axis=1), np.nanmin(ends[1], axis=1)
            hit = (enter <= leave) & (enter > 0) & (enter < depth)
            depth[hit], shown[hit] = enter[hit], number
    depth[~np.isfinite(depth) | (depth < near)] = np.nan
    return depth.reshape(120, 160), shown.reshape(120, 160)


def test_the_nearest_thing_in_the_corridor_that_is_not_the_target() -> None:
    mounting = Mounting(x=0.1, z=0.4)
    depth = np.full((120, 160), 5.0, np.float32)
    target = NOTHING.copy()
    depth[50:62, 76:84] = 1.2

    def free(settings: CorridorSettings | None = None, of: np.ndarray | None = None) -> float:
        mask = target if of is None else of
        return Corridor(settings).free_distance(0.0, depth, mask, CAMERA, mounting, None)

    assert free() == pytest.approx(1.3)
    target[50:62, 76:84] = True
    assert free() == pytest.approx(5.1)
    depth[50:62, 76:84] = np.nan
    assert free(CorridorSettings(width=0.05, ceiling=0.5), ~target) == math.inf


def test_a_corridor_without_valid_depth_is_not_free_but_unseen() -> None:
    depth, _ = rendered(Pose(), [])
    unseen = np.full_like(depth, np.nan)
    for given, lowest, known in ((depth, 0.1, True), (unseen, 0.1, False), (unseen, 0.0, True)):
        corridor = Corridor(CorridorSettings(min_valid=lowest))
        free = corridor.free_distance(0.0, given, NOTHING, CAMERA, MOUNTING, Pose())
        assert (free == math.inf) == known and math.isnan(free) == (not known)


BEFORE: Box = ((1.0, 1.3), (-0.2, 0.2), (0.0, 0.2))


def seen_from(corridor: Corridor, stamp: float, pose: Pose, boxes: Sequence[Box]) -> float:
    depth, _ = rendered(pose, boxes)
    return corridor.free_distance(stamp, depth, NOTHING, CAMERA, MOUNTING, pose)


def test_what_leaves_the_view_is_remembered_until_its_place_is_seen_to_be_free() -> None:
    corridor = Corridor()
    assert seen_from(corridor, 0.0, Pose(), [BEFORE]) == pytest.approx(1.0, abs=0.03)
    # Too low to be seen from here:
    assert seen_from(Corridor(), 1.0, Pose(0.6), [BEFORE]) == math.inf
    assert seen_from(corridor, 1.0, Pose(0.6), [BEFORE]) == pytest.approx(0.4, abs=0.03)
    # Turned away, it is not ahead; back again, it is.
    assert seen_from(corridor, 2.0, Pose(0.6, 0.0, 1.2), [BEFORE]) == math.inf
    assert seen_from(corridor, 3.0, Pose(0.6), [BEFORE]) == pytest.approx(0.4, abs=0.03)
    # From where it was seen, its place is seen to be free, which also counts later.
    assert seen_from(corridor, 4.0, Pose(), []) == math.inf
    assert seen_from(corridor, 5.0, Pose(0.6), []) == math.inf


def test_what_was_passed_or_is_old_or_of_another_clock_is_forgotten() -> None:
    for stamp, pose in ((1.0, Pose(3.5)), (200.0, Pose(0.6)), (-1.0, Pose(0.6))):
        corridor = Corridor()
        seen_from(corridor, 0.0, Pose(), [BEFORE])
        seen_from(corridor, stamp, pose, [BEFORE])
        assert seen_from(corridor, stamp + 0.1, Pose(0.6), [BEFORE]) == math.inf


def test_what_is_seen_again_is_remembered_anew() -> None:
    corridor = Corridor()
    for stamp in (0.0, 100.0):
        seen_from(corridor, stamp, Pose(), [BEFORE])
    assert seen_from(corridor, 200.0, Pose(0.6), [BEFORE]) == pytest.approx(0.4, abs=0.03)


def test_what_turns_out_to_be_the_target_is_no_obstacle() -> None:
    corridor = Corridor()
    assert seen_from(corridor, 0.0, Pose(), [BEFORE]) < 1.1
    depth, shown = rendered(Pose(), [BEFORE])
    free = corridor.free_distance(1.0, depth, shown == 0, CAMERA, MOUNTING, Pose())
    assert free == math.inf
    assert seen_from(corridor, 2.0, Pose(0.6), [BEFORE]) == math.inf


@pytest.mark.parametrize(
    ("obstacle", "near"),
    [
        (((2.0, 2.4), (-0.3, 0.3), (0.0, 0.2)), 0.0),
        (((2.0, 2.4), (-0.3, 0.3), (0.0, 0.4)), 0.45),
        (((2.0, 2.4), (-0.3, 0.3), (0.0, 0.45)), 0.3),
        (((2.0, 2.1), (0.05, 0.15), (0.0, 1.5)), 0.45),
    ],
)
def test_a_robot_stops_before_what_its_camera_no_longer_shows(obstacle: Box, near: float) -> None:
    corridor = Corridor()
    target: Box = ((5.0 - RADIUS, 5.0 + RADIUS), (-0.2, 0.2), (0.3, 1.7))
    loop = Loop(lambda time: (5.0, 0.0))

    def with_depth(time: float, observation: Observation) -> Observation:
        depth, shown = rendered(loop.pose, [target, obstacle], near)
        free = corridor.free_distance(time, depth, shown == 0, CAMERA, MOUNTING, loop.pose)
        return replace(observation, free_distance=free)

    loop.change = with_depth
    loop.run(12.0)
    assert loop.decision.state is FollowState.BLOCKED, loop.decision.reason
    assert 0.3 <= obstacle[0][0] - loop.pose.x <= 0.45
