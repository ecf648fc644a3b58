# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A robot on a plane as ROS sees it, for tests of the nodes `targets_3d` and `follower`."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from node_in_process import context_of_tests
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from referdino.msg import LocatedTarget, LocatedTargetArray
from std_msgs.msg import String

from referdino_core.following import Pose, Velocity
from referdino_core.following.geometry import wrap_angle
from referdino_ros.following.follower_node import FollowerNode
from referdino_ros.process import wait_for_callbacks

RADIUS = 0.2
ON_A_BUSY_MACHINE = {"sight.max_age": 2.0, "odometry_age": 2.0, "enable_timeout": 2.0}
_PERIOD = 0.02


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def time_of(seconds: float) -> Time:
    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


class Robot(Node):
    """A base with the dead time of a real one, which also publishes where its target is.

    Attributes:
        place: of the target's centre, metres; None for a sentence that is true of nothing.
        hears: the type of velocities that it takes.
        commands: every velocity with its time of arrival.
        change: what a LocatedTarget becomes before it is published.
        mute: whether no places come. lame: whether no odometry comes.
        every: of how many images one is published.
        looks: metres driven at each image that was published.
        stream: number of the stream of results.
        change_odometry: what odometry becomes before it is published.
    """

    def __init__(self, hears: type[Any] = Twist, **options: Any) -> None:
        super().__init__("robot", **options)
        self.place: tuple[float, float] | None = (2.5, 0.0)
        self.sentence = "the red ball"
        self.pose, self.velocity, self.way = Pose(), Velocity(), 0.0
        self.commands: list[tuple[float, Velocity]] = []
        self.states: list[str] = []
        self.said: list[str] = []
        self.change: Callable[[LocatedTarget], LocatedTarget] = lambda entry: entry
        self.mute = self.lame = False
        self.every, self._count = 1, 0
        self.looks: list[float] = []
        self.stamp_offset = 0.0
        self.stream = 1
        self.change_odometry: Callable[[Odometry], Odometry] = lambda message: message
        self._stamped = hears is TwistStamped
        self._commanded = -math.inf
        self._odometry = self.create_publisher(Odometry, "odom", 10)
        self._targets = self.create_publisher(LocatedTargetArray, "targets", 10)
        self.create_subscription(hears, "cmd_vel", self._take, 10)
        self.create_subscription(String, "/follower/state", self._note(self.states), 50)
        self.create_subscription(String, "command", self._note(self.said), 10)
        self.instruction = self.create_publisher(String, "/follower/instruction", 10)
        self._lock = threading.Lock()
        self.create_timer(_PERIOD, self._move)
        self.create_timer(0.1, self._look)

    @property
    def distance(self) -> float:
        """Metres from the base's origin to the target's surface."""
        assert self.place is not None
        x, y = self.place
        return math.hypot(x - self.pose.x, y - self.pose.y) - RADIUS

    @property
    def bearing(self) -> float:
        assert self.place is not None
        x, y = self.place
        return wrap_angle(math.atan2(y - self.pose.y, x - self.pose.x) - self.pose.yaw)

    def say(self, text: str) -> None:
        """Give the follower an instruction."""
        self.instruction.publish(String(data=text))

    def commanded_since(self, moment: float) -> list[Velocity]:
        """Velocities that came after a moment of the monotonic clock."""
        return [velocity for when, velocity in list(self.commands) if when > moment]

    def _note(self, texts: list[str]) -> Callable[[String], None]:
        return lambda message: texts.append(message.data)

    def _take(self, message: Any) -> None:
        twist = message.twist if self._stamped else message
        self.velocity = Velocity(twist.linear.x, twist.angular.z)
        self._commanded = time.monotonic()
        self.commands.append((self._commanded, self.velocity))

    def _move(self) -> None:
        if time.monotonic() - self._commanded > 0.5:
            self.velocity = Velocity()
        linear, angular = self.velocity.linear, self.velocity.angular
        self.pose = self.pose.compose(Pose(linear * _PERIOD, 0.0, angular * _PERIOD))
        self.way += abs(linear) * _PERIOD
        message = Odometry()
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id, message.child_frame_id = "odom", "base_link"
        message.pose.pose.position.x, message.pose.pose.position.y = self.pose.x, self.pose.y
        message.pose.pose.orientation.z = math.sin(self.pose.yaw / 2)
        message.pose.pose.orientation.w = math.cos(self.pose.yaw / 2)
        message.twist.twist.linear.x, message.twist.twist.angular.z = linear, angular
        if not self.lame:
            self._odometry.publish(self.change_odometry(message))

    def _look(self) -> None:
        self._count += 1
        if self.mute or self._count % self.every:
            return
        self.looks.append(self.way)
        message = LocatedTargetArray()
        now = self.get_clock().now().nanoseconds * 1e-9
        message.header.stamp = time_of(now + self.stamp_offset)
        message.header.frame_id = "odom"
        message.stream = self.stream
        entry = LocatedTarget(command_id="command", command=self.sentence, free_distance=math.inf)
        if self.place is not None and abs(self.bearing) < 0.5:
            entry.track_id, entry.state, entry.score = 1, 1, 0.9
            entry.measured = LocatedTarget.POSITION
            entry.position.x, entry.position.y = self.place
            entry.covariance = (0.05**2 * np.eye(3)).ravel()
            entry.radius = RADIUS
            x, y = self.place
            entry.bearing = math.atan2(y - self.pose.y, x - self.pose.x)
        message.targets = [self.change(entry)]
        self._targets.publish(message)


@contextlib.contextmanager
def follower_and_robot(
    hears: type[Any] = Twist, **parameters: Any
) -> Iterator[tuple[FollowerNode, Robot]]:
    """Both nodes, spinning, connected."""
    given = ON_A_BUSY_MACHINE | parameters
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    # Two contexts, as two processes: one refuses a topic of two types.
    with context_of_tests() as context, context_of_tests() as other:
        robot = Robot(hears, context=other)
        node = FollowerNode(context=context, parameter_overrides=overrides)
        executors = [
            MultiThreadedExecutor(num_threads=5, context=context),
            MultiThreadedExecutor(num_threads=2, context=other),
        ]
        executors[0].add_node(node)
        executors[1].add_node(robot)
        spinning = [threading.Thread(target=one.spin, daemon=True) for one in executors]
        for thread in spinning:
            thread.start()
        try:
            assert wait_until(lambda: node.lifecycle_label == "active")
            assert wait_until(lambda: robot.instruction.get_subscription_count() > 0)
            assert wait_until(lambda: node._output is not None and node._output.topic_is_open)
            yield node, robot
        finally:
            node.halt("The test ends.")
            for executor, thread in zip(executors, spinning, strict=True):
                executor.shutdown(timeout_sec=5.0)
                thread.join(5.0)
            node.close()
            for executor in executors:
                wait_for_callbacks(executor)
            robot.destroy_node()
            node.destroy_node()
