# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated robot as a process of its own: its topics, its time, its base."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from follow_graph import wait_until
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from node_in_process import context_of_tests
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from referdino.msg import LocatedTargetArray
from ros_harness import ros_environment
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from referdino_core.following import Mounting
from referdino_core.simulation import Room
from referdino_core.world import WorldUnavailable
from referdino_ros.following.camera_messages import quaternion_of
from referdino_ros.following.conversions import seconds_of

pytestmark = pytest.mark.ros


class Ear(Node):
    """Keeps what the simulation publishes."""

    def __init__(self, **options: Any) -> None:
        super().__init__("ear", **options)
        self.colour: list[Image] = []
        self.depth: list[Image] = []
        self.info: list[CameraInfo] = []
        self.odometry: list[Odometry] = []
        self.clock: list[Clock] = []
        self.truth: list[dict[str, Any]] = []
        for kind, topic, kept in (
            (Image, "camera/color/image_raw", self.colour),
            (Image, "camera/depth/image_raw", self.depth),
            (CameraInfo, "camera/color/camera_info", self.info),
            (Odometry, "odom", self.odometry),
            (Clock, "/clock", self.clock),
        ):
            self.create_subscription(kind, topic, kept.append, 10)
        self.create_subscription(
            String, "/simulation/truth", lambda m: self.truth.append(json.loads(m.data)), 10
        )
        self.velocity = self.create_publisher(Twist, "cmd_vel", 1)

    def shared_stamps(self) -> bool:
        """Whether colour, depth and camera_info of one moment have come."""
        colour, depth, info = (
            {seconds_of(one.header.stamp) for one in kept}
            for kept in (self.colour, self.depth, self.info)
        )
        return bool(colour & depth & info)


@contextlib.contextmanager
def simulation(*parameters: str) -> Iterator[tuple[subprocess.Popen[str], Ear]]:
    try:
        Room(32, 32, 0.2)
    except WorldUnavailable as error:
        pytest.skip(str(error))
    given = [word for one in parameters for word in ("-p", one)]
    process = subprocess.Popen(
        [sys.executable, "-m", "referdino_ros.following.simulation_node", "--ros-args", *given],
        env=ros_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    with context_of_tests() as context:
        ear = Ear(context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(ear)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        try:
            yield process, ear
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            executor.shutdown(timeout_sec=5.0)
            spinning.join(5.0)
            ear.destroy_node()


@pytest.mark.parametrize(("encoding", "kind"), [("16UC1", np.uint16), ("32FC1", np.float32)])
def test_images_of_a_moment_have_one_stamp_and_the_base_moves(encoding: str, kind: type) -> None:
    with simulation(f"depth_encoding:={encoding}") as (process, ear):
        assert wait_until(lambda: len(ear.truth) > 2)
        assert wait_until(ear.shared_stamps)
        depth = ear.depth[-1]
        values = np.frombuffer(bytes(depth.data), kind).reshape(depth.height, depth.width)
        median = np.median(values[values > 0]) / (1000 if encoding == "16UC1" else 1)
        assert depth.encoding == encoding and 1.0 < median < 6.0
        assert ear.info[-1].k[0] == ear.info[-1].p[0] > 100
        assert ear.info[-1].r[0] == ear.info[-1].r[8] == 1.0
        assert seconds_of(ear.clock[-1].clock) >= 1.0
        for _ in range(10):
            ear.velocity.publish(_forward())
            time.sleep(0.1)
        assert wait_until(lambda: ear.odometry[-1].pose.pose.position.x > 0.1)
        # Nobody commands any more: it stands after half a second of its own time.
        assert wait_until(lambda: ear.odometry[-1].twist.twist.linear.x == 0.0)
        assert ear.truth[-1]["way"] > 0.1 and len(ear.truth[-1]["bodies"]) >= 3
        assert process.poll() is None


def _forward() -> Twist:
    message = Twist()
    message.linear.x = 0.3
    return message


def test_a_wrong_parameter_ends_it_with_one_line() -> None:
    with simulation("depth_encoding:=rgb8") as (process, _):
        assert process.wait(60) == 1


def test_the_mounting_as_a_quaternion_turns_as_its_matrix() -> None:
    for mounting in (Mounting(), Mounting(pitch=0.33), Mounting(yaw=2.0, pitch=-0.4)):
        w, x, y, z = quaternion_of(mounting.rotation)
        turned = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )
        np.testing.assert_allclose(turned, mounting.rotation, atol=1e-12)


def test_another_episode_is_loaded_while_time_and_odometry_go_on() -> None:
    with simulation("split:=static", "index:=1") as (process, ear):
        labels: list[Image] = []
        ear.create_subscription(Image, "/simulation/labels", labels.append, 10)
        assert wait_until(lambda: len(labels) > 1 and len(ear.truth) > 0)
        here = np.frombuffer(bytes(labels[-1].data), np.uint8)
        assert 1 <= here.max() <= len(ear.truth[-1]["bodies"])
        before = ear.truth[-1]
        request = SetParameters.Request()
        request.parameters = [
            Parameter("split", value="absent").to_parameter_msg(),
            Parameter("index", value=2).to_parameter_msg(),
        ]
        client = ear.create_client(SetParameters, "/simulation/set_parameters")
        assert client.wait_for_service(60.0)
        done = client.call_async(request)
        assert wait_until(done.done) and all(one.successful for one in done.result().results)
        assert wait_until(lambda: ear.truth[-1]["split"] == "absent")
        after = ear.truth[-1]
        assert after["index"] == 2 and after["target"] is None
        assert after["stamp"] > before["stamp"] and after["time"] < before["time"] + 5.0
        stamps = [seconds_of(one.header.stamp) for one in ear.odometry]
        assert stamps == sorted(stamps)
        assert process.poll() is None


def test_time_waits_for_results_but_never_for_long() -> None:
    with simulation("result_age:=0.2") as (_, ear):
        answers = ear.create_publisher(LocatedTargetArray, "/targets", 10)
        assert wait_until(
            lambda: bool(answers.get_subscription_count() and ear.colour and ear.clock)
        )
        # Only the first image is answered, again and again: time goes on in small steps.
        answer = LocatedTargetArray(header=ear.colour[-1].header)
        began, stamp = time.monotonic(), seconds_of(ear.clock[-1].clock)
        while time.monotonic() - began < 3.0:
            answers.publish(answer)
            time.sleep(0.1)
        held = seconds_of(ear.clock[-1].clock) - stamp
        assert 0.02 < held < 1.5
        # Nobody answers any more: after three seconds time is real again.
        assert wait_until(lambda: seconds_of(ear.clock[-1].clock) - stamp > held + 2.0)
