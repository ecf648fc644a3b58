# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Poses of a target in any frame, and frames of TF, brought into the odometry frame."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator

import pytest
from follow_graph import time_of
from geometry_msgs.msg import PoseStamped
from node_in_process import context_of_tests
from numpy.testing import assert_allclose
from rclpy.node import Node
from stand_in_tf import StandInTf, UnknownTransformError

from referdino_core.following import Mounting, Observation
from referdino_ros.following.poses import FrameSights, TargetPoses

pytestmark = pytest.mark.ros
CAMERA = Mounting(x=1.0, y=-2.0, z=0.9, yaw=math.pi / 2)
"""An optical frame that looks along the y axis of the odometry frame: its x axis is odometry's."""


@pytest.fixture
def tf(monkeypatch: pytest.MonkeyPatch) -> StandInTf:
    stand_in = StandInTf()
    stand_in.install(monkeypatch)
    return stand_in


@pytest.fixture
def poses() -> Iterator[TargetPoses]:
    with context_of_tests() as context:
        node = Node("node", context=context)
        made = TargetPoses(node)
        made.odometry_frame = "odom"
        yield made
        made.close()
        node.destroy_node()


def pose(frame: str, stamp: float = 12.0) -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id, message.header.stamp = frame, time_of(stamp)
    message.pose.position.x, message.pose.position.y, message.pose.position.z = 3.0, 0.5, 0.2
    return message


@pytest.mark.parametrize("frame", ["odom", "/odom", ""])
def test_a_pose_in_the_odometry_frame_is_taken_as_it_is(poses: TargetPoses, frame: str) -> None:
    found = poses.from_pose(pose(frame))
    assert isinstance(found, Observation)
    assert found.stamp == 12.0 and found.height == 0.2
    assert_allclose(found.position, [3.0, 0.5])


@pytest.mark.skipif(importlib.util.find_spec("tf2_ros") is not None, reason="tf2_ros is installed")
def test_without_tf_a_pose_in_another_frame_is_not_driven_by(poses: TargetPoses) -> None:
    told = poses.from_pose(pose("map"))
    assert isinstance(told, str)
    assert "in the frame 'map', odometry in 'odom', and tf2_ros is not installed" in told


def test_over_a_stand_in_of_tf_a_pose_goes_to_the_odometry_frame(
    poses: TargetPoses, tf: StandInTf
) -> None:
    tf.ways["odom", "camera"] = lambda stamp: (stamp, CAMERA)
    found = poses.from_pose(pose("camera"))
    assert isinstance(found, Observation)
    assert_allclose(found.position, [1.0 + 3.0, -2.0 + 0.2], atol=1e-12)
    assert found.height == pytest.approx(0.9 - 0.5)
    told = poses.from_pose(pose("map"))
    assert isinstance(told, str) and "TF knows no way from 'map' to 'odom'" in told


@pytest.mark.parametrize(("newest", "taken"), [(11.9, True), (11.0, False)])
def test_over_a_stand_in_of_tf_a_pose_may_be_a_little_ahead_of_it(
    poses: TargetPoses, tf: StandInTf, newest: float, taken: bool
) -> None:
    def way(stamp: float) -> tuple[float, Mounting]:
        if stamp > newest:
            raise UnknownTransformError("Lookup would require extrapolation into the future")
        return newest, CAMERA

    tf.ways["odom", "map"] = way
    assert isinstance(poses.from_pose(pose("map")), Observation) is taken


def test_over_a_stand_in_of_tf_a_frame_is_seen_once_per_transform(
    poses: TargetPoses, tf: StandInTf
) -> None:
    sights = FrameSights(poses, "ball")
    assert sights.next(20.0) is None and "no way from 'ball'" in sights.complaint
    assert not sights.came
    stamp = 19.5
    tf.ways["odom", "ball"] = lambda _: (stamp, Mounting(x=2.0, y=1.0, z=0.3))
    found = sights.next(20.0)
    assert found is not None and sights.came and sights.complaint == ""
    assert found.stamp == 19.5 and found.height == pytest.approx(0.3)
    assert_allclose(found.position, [2.0, 1.0])
    assert sights.next(20.1) is None
    stamp = 20.1
    assert sights.next(20.2) is not None


def test_over_a_stand_in_of_tf_a_frame_that_never_moves_is_always_seen(
    poses: TargetPoses, tf: StandInTf
) -> None:
    tf.ways["odom", "dock"] = lambda _: (0.0, Mounting(x=2.0))
    sights = FrameSights(poses, "dock")
    stamps = [found.stamp for now in (5.0, 5.1) if (found := sights.next(now)) is not None]
    assert stamps == [5.0, 5.1]


def test_tf_is_listened_to_only_while_it_is_needed(poses: TargetPoses, tf: StandInTf) -> None:
    poses.from_pose(pose("odom"))
    assert tf.listeners == 0
    for _ in range(2):
        poses.from_pose(pose("map"))
    assert tf.listeners == 1
    poses.close()
    assert tf.listeners == 0
    assert isinstance(poses.from_frame("map", 1.0), str) and tf.listeners == 1


def test_before_odometry_nothing_has_a_place(poses: TargetPoses, tf: StandInTf) -> None:
    poses.odometry_frame = None
    assert poses.from_frame("ball", 1.0) == "No odometry with a frame has come yet."
    assert poses.from_pose(pose("odom")) == "No odometry has come yet."


def test_odometry_without_a_frame_takes_poses_as_they_are(
    poses: TargetPoses, tf: StandInTf
) -> None:
    poses.odometry_frame = ""
    assert poses.from_frame("ball", 1.0) == "No odometry with a frame has come yet."
    found = poses.from_pose(pose("map"))
    assert isinstance(found, Observation)
    assert_allclose(found.position, [3.0, 0.5])
    assert tf.listeners == 0
