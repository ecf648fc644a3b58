# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The installed follower as a process of its own: what the base hears when that process ends."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
from follow_graph import Robot, wait_until
from node_in_process import context_of_tests
from rclpy.executors import MultiThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import node_executable, ros_environment
from std_msgs.msg import String

from referdino_core.following import STANDSTILL

pytestmark = pytest.mark.ros
LONGEST_BLIND = 0.5
"""Seconds after which the base stops by itself."""


def ignore_interrupts() -> None:
    """As a script's background job does from its start on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def driving_follower() -> Iterator[tuple[subprocess.Popen[bytes], Robot]]:
    """The process and a robot that it drives."""
    given = ["-p", "sight.max_age:=2.0", "-p", "odometry_age:=2.0"]
    process = subprocess.Popen(
        [node_executable().with_name("follower"), "--ros-args", *given],
        env=ros_environment(),
        preexec_fn=ignore_interrupts,
    )
    with context_of_tests() as context:
        robot = Robot(context=context)
        robot.place = (8.0, 0.0)
        active = threading.Event()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        robot.create_subscription(String, "/follower/state", lambda _: active.set(), latched)
        executor = MultiThreadedExecutor(num_threads=2, context=context)
        executor.add_node(robot)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        try:
            assert wait_until(lambda: robot.instruction.get_subscription_count() > 0)
            # Only an active follower says its state; before, it refuses instructions.
            assert active.wait(60.0)
            robot.say("follow the red ball")
            assert wait_until(lambda: robot.velocity.linear > 0.2)
            yield process, robot
        finally:
            process.kill()
            process.wait(30)
            executor.shutdown(timeout_sec=5.0)
            spinning.join(5.0)
            robot.destroy_node()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_that_is_told_to_end_stops_the_robot_first(number: int) -> None:
    with driving_follower() as (process, robot):
        told = time.monotonic()
        process.send_signal(number)
        assert wait_until(lambda: STANDSTILL in robot.commanded_since(told), 10.0)
        assert process.wait(30) == 0
        assert set(robot.commanded_since(told + 0.3)) <= {STANDSTILL}


def test_the_base_stops_by_itself_when_the_node_is_killed() -> None:
    with driving_follower() as (process, robot):
        way = robot.way
        process.kill()
        assert wait_until(lambda: robot.velocity == STANDSTILL, 10.0)
        assert STANDSTILL not in [velocity for _, velocity in robot.commands[-3:]]
        assert robot.way - way < 0.3 * (LONGEST_BLIND + 0.3)
