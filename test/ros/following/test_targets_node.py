# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`targets_3d` as a real node: results, depth and odometry in, places out."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from follow_graph import time_of, wait_until
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from node_in_process import context_of_tests
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from referdino.msg import (
    LocatedTarget,
    LocatedTargetArray,
    ReferredObject,
    ReferredObjectArray,
)
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from referdino_core.messages import run_lengths
from referdino_ros.following.targets_node import TargetsNode

pytestmark = pytest.mark.ros
WIDTH, HEIGHT, FOCAL = 160, 120, 140.0


class Camera(Node):
    """Publishes what a camera, a base and the node `referdino` would, and keeps what comes back."""

    def __init__(self, **options: Any) -> None:
        super().__init__("camera", **options)
        self._info = self.create_publisher(CameraInfo, "camera_info", 10)
        self._depth = self.create_publisher(Image, "depth", 10)
        self._odom = self.create_publisher(Odometry, "odom", 10)
        self._objects = self.create_publisher(ReferredObjectArray, "objects", 10)
        self.arrays: list[LocatedTargetArray] = []
        self.poses: list[PoseStamped] = []
        self.clouds: list[PointCloud2] = []
        self.markers: list[MarkerArray] = []
        self.create_subscription(LocatedTargetArray, "/targets_3d/targets", self.arrays.append, 10)
        self.create_subscription(PoseStamped, "/targets_3d/target_pose", self.poses.append, 1)
        self.create_subscription(PointCloud2, "/targets_3d/points", self.clouds.append, 1)
        self.create_subscription(MarkerArray, "/targets_3d/markers", self.markers.append, 10)

    @property
    def is_connected(self) -> bool:
        publishers = (self._info, self._depth, self._odom, self._objects)
        return all(one.get_subscription_count() for one in publishers) and (
            self.count_publishers("/targets_3d/points") > 0
            and self.count_publishers("/targets_3d/markers") > 0
        )

    def send_odometry(self, stamp: float, x: float, yaw: float) -> None:
        message = Odometry()
        message.header.stamp = time_of(stamp)
        message.pose.pose.position.x = x
        message.pose.pose.orientation.z = math.sin(yaw / 2)
        message.pose.pose.orientation.w = math.cos(yaw / 2)
        self._odom.publish(message)

    def send_info(self, focal: float = FOCAL) -> None:
        message = CameraInfo(width=WIDTH, height=HEIGHT)
        message.k = [focal, 0.0, 79.5, 0.0, focal, 59.5, 0.0, 0.0, 1.0]
        self._info.publish(message)

    def send_depth(self, stamp: float, depth: np.ndarray, encoding: str) -> None:
        message = Image(height=depth.shape[0], width=depth.shape[1], encoding=encoding)
        message.header.stamp = time_of(stamp)
        message.step = depth.strides[0]
        message.data = depth.tobytes()
        self._depth.publish(message)

    def send_result(self, stamp: float, mask: np.ndarray, state: int = 1) -> None:
        message = ReferredObjectArray()
        message.header.stamp, message.header.frame_id = time_of(stamp), "camera_optical"
        entry = ReferredObject(
            command_id="command", command="the box", track_id=4, state=state, score=0.8
        )
        entry.mask.height, entry.mask.width = mask.shape
        entry.mask.counts = run_lengths.encode(mask)
        message.objects = [entry]
        self._objects.publish(message)

    def answer(self, count: int = 1) -> LocatedTarget:
        """The newest place, once there are so many arrays."""
        assert wait_until(lambda: len(self.arrays) >= count)
        return self.arrays[-1].targets[0]


@contextlib.contextmanager
def targets_and_camera(**parameters: Any) -> Iterator[tuple[TargetsNode, Camera]]:
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    with context_of_tests() as context:
        camera = Camera(context=context)
        node = TargetsNode(context=context, parameter_overrides=overrides)
        executor = MultiThreadedExecutor(num_threads=2, context=context)
        executor.add_node(node)
        executor.add_node(camera)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        try:
            assert wait_until(lambda: camera.is_connected)
            yield node, camera
        finally:
            executor.shutdown(timeout_sec=5.0)
            spinning.join(5.0)
            camera.destroy_node()
            node.destroy_node()


def square() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[40:80, 60:100] = True
    return mask


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_an_object_is_where_the_base_was_when_the_image_was_taken(encoding: str) -> None:
    with targets_and_camera(camera_x=0.1, camera_z=0.4) as (node, camera):
        camera.send_info()
        for stamp, x in ((10.0, 0.0), (10.4, 0.8), (10.6, 1.2)):
            camera.send_odometry(stamp, x, math.pi / 2)
        assert wait_until(lambda: "10.6" in str(node._joiner.newest_odometry))
        depth = np.where(square(), 2.0, 5.0)
        sent = (1000 * depth).astype(np.uint16) if encoding == "16UC1" else depth.astype("f4")
        camera.send_depth(10.5, sent, encoding)
        camera.send_result(10.5, square())
        place = camera.answer()
        assert place.measured == LocatedTarget.POSITION, place.reason
        # The base is at x = 1 and looks along y; the box is 2.1 m ahead, and as deep as wide.
        assert place.position.x == pytest.approx(1.0, abs=0.03)
        assert place.position.y == pytest.approx(2.1 + place.radius, abs=0.03)
        assert place.position.z == pytest.approx(0.4, abs=0.03)
        assert place.bearing == pytest.approx(math.pi / 2, abs=0.02)
        assert place.track_id == 4 and place.command == "the box"
        assert np.array(place.covariance).reshape(3, 3)[1, 1] > 0
        assert camera.arrays[-1].header.frame_id == "odom"
        assert wait_until(lambda: len(camera.poses) > 0 and len(camera.clouds) > 0)
        assert wait_until(lambda: len(camera.markers) > 0)
        ball, words = camera.markers[-1].markers
        assert ball.pose.position == place.position and ball.header.frame_id == "odom"
        assert ball.scale.x == pytest.approx(2 * place.radius)
        assert words.text == "the box (4, tracking)"
        pose, cloud = camera.poses[-1], camera.clouds[-1]
        assert pose.pose.position == place.position and pose.header.stamp == time_of(10.5)
        points = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 3)
        assert cloud.height == 1 and cloud.width == len(points) == square().sum()
        assert np.median(points[:, 1]) == pytest.approx(2.1, abs=0.02)


def test_depth_of_another_size_shows_obstacles_and_points_too() -> None:
    """Colour of twice the depth's size."""
    with targets_and_camera(camera_x=0.1, camera_z=0.4) as (node, camera):
        camera.send_info()
        camera.send_odometry(10.0, 0.0, 0.0)
        camera.send_odometry(10.5, 0.0, 0.0)
        assert wait_until(lambda: "10.5" in str(node._joiner.newest_odometry))
        depth = np.where(square(), 3.0, 5.0).astype(np.float32)
        depth[50:70, 100:120] = 1.2  # nearer than the target, beside it
        camera.send_depth(10.2, np.ascontiguousarray(depth[::2, ::2]), "32FC1")
        camera.send_result(10.2, square())
        place = camera.answer()
        assert place.measured == LocatedTarget.POSITION, place.reason
        assert place.surface.x == pytest.approx(3.1, abs=0.05)
        assert place.free_distance == pytest.approx(1.3, abs=0.02)
        assert wait_until(lambda: len(camera.clouds) > 0)
        assert camera.clouds[-1].width == square().sum()


def test_odometry_that_is_no_number_is_named_and_left_out() -> None:
    with targets_and_camera() as (node, camera):
        camera.send_odometry(10.0, math.nan, 0.0)
        assert wait_until(lambda: "not finite" in node._problem())
        assert node._joiner.newest_odometry is None
        camera.send_odometry(10.1, 0.5, 0.0)
        assert wait_until(lambda: node._joiner.newest_odometry is not None)
        assert "not finite" not in node._problem()


def test_parameters_that_would_have_no_effect_are_refused() -> None:
    with targets_and_camera() as (node, _):
        for name, value in (("camera_pitch", 0.3), ("sync.tolerance", 0.1), ("mounting", "tf")):
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert not result.successful and "restart the node" in result.reason


def test_what_is_missing_is_told_and_a_bearing_is_left() -> None:
    with targets_and_camera(wait=0.1) as (node, camera):
        camera.send_result(9.0, square())
        assert wait_until(lambda: len(camera.arrays) > 0)
        assert camera.arrays[-1].targets == []
        assert node._joiner.complaints["camera_info"] == "No camera_info has come yet."
        camera.send_info()
        assert wait_until(lambda: node._joiner.intrinsics is not None)
        camera.send_result(9.5, square())
        blind = camera.answer(2)
        assert blind.measured == LocatedTarget.NOTHING and "odometry" in blind.reason
        for tick in range(10):
            camera.send_odometry(10.0 + tick / 10, 0.0, 0.0)
        camera.send_depth(10.0, np.full((HEIGHT, WIDTH), 2.0, np.float32), "32FC1")
        assert wait_until(lambda: len(node._joiner._depths) == 1)
        camera.send_result(10.5, square())
        place = camera.answer(3)
        assert place.measured == LocatedTarget.BEARING
        assert "0.500 s older" in place.reason
        assert math.isnan(place.free_distance)


def test_depth_that_comes_after_the_result_is_waited_for() -> None:
    with targets_and_camera(wait=5.0) as (node, camera):
        camera.send_info()
        camera.send_odometry(10.0, 0.0, 0.0)
        camera.send_odometry(10.5, 0.0, 0.0)
        camera.send_depth(10.0, np.full((HEIGHT, WIDTH), 2.0, np.float32), "32FC1")
        assert wait_until(lambda: len(node._joiner._depths) == 1)
        camera.send_result(10.2, square())
        camera.send_depth(10.2, np.full((HEIGHT, WIDTH), 3.0, np.float32), "32FC1")
        place = camera.answer()
        assert place.measured == LocatedTarget.POSITION
        assert place.surface.x == pytest.approx(3.1, abs=0.05)


@pytest.mark.parametrize(
    ("depth", "encoding", "words"),
    [
        (np.full((HEIGHT, WIDTH), 2000.0, np.float32), "32FC1", "millimetres"),
        (np.full((HEIGHT, WIDTH), np.nan, np.float32), "32FC1", "0 of"),
        (np.full((100, WIDTH), 2.0, np.float32), "32FC1", "aspect ratio"),
    ],
)
def test_depth_that_cannot_be_used_is_told_with_numbers(
    depth: np.ndarray, encoding: str, words: str
) -> None:
    with targets_and_camera() as (_, camera):
        camera.send_info()
        camera.send_odometry(10.0, 0.0, 0.0)
        camera.send_odometry(10.5, 0.0, 0.0)
        camera.send_depth(10.2, depth, encoding)
        camera.send_result(10.2, square())
        place = camera.answer()
        assert place.measured == LocatedTarget.BEARING and words in place.reason


def test_an_uncalibrated_camera_and_colour_in_place_of_depth_are_named() -> None:
    with targets_and_camera() as (node, camera):
        camera.send_info(focal=0.0)
        assert wait_until(lambda: "not calibrated" in node._problem())
        camera.send_info()
        camera.send_depth(10.0, np.zeros((HEIGHT, 3 * WIDTH), np.uint8), "rgb8")
        assert wait_until(lambda: "is not depth" in node._problem())
