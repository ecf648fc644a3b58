# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The baselines do what their originals are described to do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from referdino_core.follow_evaluation.contestants import BallTracker, Nav2Follower, Seen
from referdino_core.following import STANDSTILL, Intrinsics, Mounting, Odometry, Pose, Velocity
from referdino_core.simulation import Frame
from referdino_core.target import Target, TargetState, box_around

CAMERA = Intrinsics(160, 120, 140.0, 140.0, 79.5, 59.5)
MOUNTING = Mounting(z=0.2)


def seen(stamp: float, depth: float, column: int = 80, half: int = 10) -> Seen:
    """A square target, `half` pixels to each side of a column."""
    mask = np.zeros((120, 160), bool)
    mask[60 - half : 60 + half, column - half : column + half] = True
    image = np.zeros((120, 160, 3), np.uint8)
    depths = np.full((120, 160), depth, np.float32)
    frame = Frame(stamp, image, depths, np.zeros((120, 160), np.uint8))
    target = Target("a", "the box", 1, TargetState.TRACKING, 0.9, 0.9, box_around(mask), mask)
    return Seen(frame, target, CAMERA, Pose())


def nav2(distance: float = 1.0) -> Nav2Follower:
    follower = Nav2Follower(MOUNTING)
    follower.begin(distance, 0.0, CAMERA)
    return follower


def test_nav2_drives_by_a_pose_of_two_seconds_ago_and_then_aborts() -> None:
    follower = nav2()
    assert follower.steer(1.0, Odometry(1.0, Pose())) is None
    follower.see(1.0, seen(1.0, 3.0))
    stale = follower.steer(2.9, Odometry(2.9, Pose()))
    assert stale is not None
    assert (stale.linear, stale.angular) == pytest.approx((0.25, 0.0), abs=0.01)
    assert follower.steer(3.1, Odometry(3.1, Pose())) == STANDSTILL
    follower.see(3.2, seen(3.2, 3.0))
    assert follower.steer(3.2, Odometry(3.2, Pose())) == STANDSTILL
    assert "aborted" in follower.says()


def test_nav2_stops_within_its_tolerance() -> None:
    follower = nav2()
    follower.see(1.0, seen(1.0, 1.05))
    assert follower.steer(1.1, Odometry(1.1, Pose())) == STANDSTILL
    assert follower.says() == "reached"


def test_nav2_turns_its_back_on_what_is_too_near() -> None:
    follower, pose = nav2(), Pose()
    follower.see(1.0, seen(1.0, 0.4))
    for tick in range(150):
        command = follower.steer(1.0 + tick / 100, Odometry(1.0, pose))
        assert command is not None and command.linear >= 0
        pose = pose.compose(Pose(command.linear * 0.02, 0.0, command.angular * 0.02))
    assert abs(pose.yaw) > math.radians(60)


def test_the_ball_tracker_chases_at_one_speed_and_spins_for_ever_when_it_lost() -> None:
    follower = BallTracker()
    follower.begin(1.0, 0.2, CAMERA)
    assert follower.steer(0.5, Odometry(0.5, Pose())) == Velocity(0.0, 0.5)
    for tick in range(60):
        follower.see(1.0 + tick / 10, seen(1.0, 3.0, column=120))
    for now in (7.0, 7.8):  # the second by a message of nearly a second ago
        chasing = follower.steer(now, Odometry(now, Pose()))
        assert chasing is not None
        assert (chasing.linear, chasing.angular) == pytest.approx((0.1, -0.35), abs=0.01)
    assert follower.steer(99.0, Odometry(99.0, Pose())) == Velocity(0.0, 0.5)
    for tick in range(60):
        follower.see(100.0 + tick / 10, seen(1.0, 1.0, half=40))
    near = follower.steer(106.0, Odometry(106.0, Pose()))
    assert near is not None and near.linear == 0.0
