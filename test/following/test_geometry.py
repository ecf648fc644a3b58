# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras, poses, mountings, odometry and free distances in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from referdino_core.errors import ReferDINOError
from referdino_core.following.geometry import Intrinsics, Mounting, Pose, wrap_angle
from referdino_core.following.measurement import MeasurementSettings, measure
from referdino_core.following.observation import observe
from referdino_core.following.odometry import Odometry, PoseHistory
from referdino_core.following.ranges import quantities
from referdino_core.target import TargetState

CAMERA = Intrinsics(160, 120, 140.0, 140.0, 80.0, 60.0)


def test_intrinsics_from_the_matrices_of_a_camera_info() -> None:
    k = [100.0, 0, 50, 0, 90, 40, 0, 0, 1]
    p = [100.0, 0, 50, 0, 0, 90, 40, 0, 0, 0, 1, 0]
    assert Intrinsics.from_matrix(100, 80, k) == Intrinsics.from_matrix(100, 80, p)
    assert Intrinsics.from_matrix(100, 80, k) == Intrinsics(100, 80, 100.0, 90.0, 50.0, 40.0)
    assert Intrinsics(200, 100, 100.0, 100.0, 99.5, 49.5).field_of_view == pytest.approx(
        math.pi / 2
    )
    with pytest.raises(ReferDINOError, match="not calibrated"):
        Intrinsics.from_matrix(100, 80, [0.0] * 9)


def test_poses_compose_and_relate() -> None:
    base = Pose(1.0, 2.0, math.pi / 2)
    assert_allclose(base.outward(np.array([1.0, 0.0])), [1.0, 3.0], atol=1e-12)
    assert_allclose(base.inward(np.array([1.0, 3.0])), [1.0, 0.0], atol=1e-12)
    other = Pose(0.3, -0.2, 3.0)
    again = base.relative(base.compose(other))
    assert_allclose([again.x, again.y, again.yaw], [0.3, -0.2, 3.0])
    assert wrap_angle(3 * math.pi) == pytest.approx(-math.pi)


def test_a_camera_that_looks_down_sees_the_floor_where_it_is() -> None:
    mounting = Mounting(x=0.1, z=1.0, pitch=math.radians(45))
    # 45 degrees down from 1 m up: the optical axis meets the floor 1 m ahead.
    assert_allclose(mounting.to_base(np.array([0.0, 0.0, math.sqrt(2)])), [1.1, 0, 0], atol=1e-12)
    left = Mounting(yaw=math.pi / 2, z=0.0)
    assert_allclose(left.to_base(np.array([0.0, 0.0, 1.0])), [0, 1, 0], atol=1e-12)


def test_an_observation_is_where_the_base_was_when_the_image_was_taken() -> None:
    mask = np.zeros((120, 160), bool)
    mask[55:65, 75:85] = True
    depth = np.full((120, 160), 2.0, np.float32)
    seen = observe(
        1.0,
        7,
        TargetState.TRACKING,
        measure(mask, depth, CAMERA, MeasurementSettings(erosion=0)),
        Mounting(x=0.1, z=0.5),
        Pose(1.0, 0.0, math.pi / 2),
    )
    assert seen.position is not None and seen.covariance is not None
    assert_allclose(seen.position, [1.0, 2.1 + seen.radius], atol=0.01)
    assert seen.bearing == pytest.approx(math.pi / 2, abs=0.01)
    assert seen.height == pytest.approx(0.5, abs=0.01)
    # Uncertain along the line of sight, which is y here.
    assert seen.covariance[1, 1] > seen.covariance[0, 0]


def test_odometry_is_interpolated_and_says_what_it_does_not_know() -> None:
    history = PoseHistory(duration=2.0)
    assert history.at(1.0) == "No odometry has come yet."
    for tick in range(41):
        history.add(Odometry(tick / 10, Pose(tick / 100, 0.0, 3.1 + tick / 100), 0.1, 0.1))
    pose = history.at(3.05)
    assert isinstance(pose, Pose)
    assert pose.x == pytest.approx(0.305) and pose.yaw == pytest.approx(wrap_angle(3.405))
    ahead = history.at(4.05)
    assert isinstance(ahead, Pose)
    assert math.hypot(ahead.x - 0.4, ahead.y) == pytest.approx(0.005)
    assert "0.500 s older than the image" in str(history.at(4.5))
    assert "older than the odometry kept" in str(history.at(1.5))
    history.add(Odometry(0.1, Pose()))
    assert history.newest == Odometry(0.1, Pose())
    assert "older than the image" in str(history.at(4.0))


def test_settings_name_their_ranges_and_refuse_what_is_outside() -> None:
    known = {one.name: one for one in quantities(MeasurementSettings)}
    assert known["far"].unit == "m" and known["min_pixels"].default == 20
    for bad in (0.0, float("nan"), "2", True):
        with pytest.raises(ReferDINOError, match=r"far is .*; give a number from 0\.5 to 100 m"):
            MeasurementSettings(far=bad)  # type: ignore[arg-type]
