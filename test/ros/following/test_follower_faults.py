# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The follower on a real graph while inputs, parameters and other nodes fail."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from follow_graph import Robot, follower_and_robot, wait_until
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from referdino.msg import FollowStatus, LocatedTarget
from rosgraph_msgs.msg import Clock

from referdino_core.following import STANDSTILL, Mode
from referdino_ros.following.follower_node import FollowerNode
from referdino_ros.following.goals import Task

pytestmark = pytest.mark.ros


def drive(robot: Robot) -> None:
    robot.place = (6.0, 0.0)
    robot.say("follow the red ball")
    assert wait_until(lambda: robot.velocity.linear > 0.2)


def set_parameter(node: FollowerNode, name: str, value: Any) -> str:
    """Set it; why it was refused, "" if it was not."""
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert result.successful == (result.reason == "")
    return str(result.reason)


def at_no_place(entry: LocatedTarget) -> LocatedTarget:
    entry.position.x = math.nan
    return entry


def of_no_certainty(entry: LocatedTarget) -> LocatedTarget:
    entry.covariance[0] = math.inf
    return entry


@pytest.mark.parametrize("spoilt", [at_no_place, of_no_certainty])
def test_places_that_are_no_numbers_stop_the_robot_and_good_ones_move_it_again(
    spoilt: Any,
) -> None:
    with follower_and_robot(**{"sight.max_age": 0.7}) as (_, robot):
        drive(robot)
        robot.change = spoilt
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        yaw = robot.pose.yaw
        time.sleep(1.0)
        assert robot.velocity == STANDSTILL and abs(robot.pose.yaw - yaw) < 0.05
        robot.change = lambda entry: entry
        assert wait_until(lambda: robot.velocity.linear > 0.1)


def test_odometry_that_is_no_number_stops_the_robot_and_good_one_moves_it_again() -> None:
    def spoilt(message: Odometry) -> Odometry:
        message.pose.pose.orientation.w = math.nan
        return message

    with follower_and_robot() as (_, robot):
        drive(robot)
        robot.change_odometry = spoilt
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        assert wait_until(lambda: "odometry is" in robot.states[-1])
        robot.change_odometry = lambda message: message
        assert wait_until(lambda: robot.velocity.linear > 0.1)


def test_the_first_object_of_a_restarted_referdino_is_not_taken_for_the_target() -> None:
    with follower_and_robot() as (_, robot):
        drive(robot)
        robot.mute = True
        assert wait_until(lambda: "silent" in robot.states[-1])
        robot.stream, robot.place, robot.mute = 2, (2.0, 0.2), False
        assert wait_until(lambda: "began anew" in robot.states[-1])
        way = robot.way
        time.sleep(1.0)
        assert robot.way == way
        drive(robot)


def test_parameters_are_checked_and_count_at_once_or_are_refused() -> None:
    with follower_and_robot() as (node, robot):
        for name, value, words in (
            ("vocabulary", "mug table", "no description of an object"),
            ("on_switch", "ignore", "choose one of stop, accept"),
            ("distance", 0.01, "0.1 to 20 m"),
            ("distance", math.nan, "0.1 to 20 m"),
            ("limits.linear", math.nan, "0.01 to 5 m/s"),
            ("zeros", 0.0, "0.1 to 10 s"),
            ("require_enable", True, "read-only while the node is configured"),
            ("enable_timeout", 1.0, "read-only while the node is configured"),
            ("source", "pose", "read-only while the node is configured"),
            ("autostart", False, "read at the start"),
        ):
            assert words in set_parameter(node, name, value), name
        drive(robot)
        assert set_parameter(node, "limits.linear", 0.1) == ""
        time.sleep(0.5)
        slower = time.monotonic()
        assert wait_until(lambda: len(robot.commanded_since(slower)) > 10)
        assert max(one.linear for one in robot.commanded_since(slower)) <= 0.1
        robot.say("stop")
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        node.trigger_deactivate()
        node.trigger_cleanup()
        assert "0.05 to 10 s" in set_parameter(node, "enable_timeout", -1.0)
        assert set_parameter(node, "require_enable", True) == ""


def without_a_look_ahead(entry: LocatedTarget) -> LocatedTarget:
    entry.free_distance = -1.0
    return entry


def with_an_unseen_way_ahead(entry: LocatedTarget) -> LocatedTarget:
    entry.free_distance = math.nan
    return entry


def test_a_source_that_does_not_look_ahead_is_driven_by_one_that_cannot_see_is_not() -> None:
    with follower_and_robot() as (_, robot):
        robot.change = without_a_look_ahead
        drive(robot)
        robot.change = with_an_unseen_way_ahead
        assert wait_until(lambda: "whether the way ahead is free" in robot.states[-1])
        assert wait_until(lambda: robot.velocity.linear == 0.0)


def test_a_configuration_that_fails_half_way_can_be_repeated() -> None:
    with follower_and_robot() as (node, robot):
        node.trigger_deactivate()
        node.trigger_cleanup()
        held_publisher = node.held_publisher

        def failing(kind: Any, topic: str, qos: Any) -> Any:
            if topic == "command":
                raise RuntimeError("the topic cannot be made")
            return held_publisher(kind, topic, qos)

        node.held_publisher = failing  # type: ignore[method-assign]
        node.trigger_configure()
        assert node.lifecycle_label == "unconfigured"
        node.held_publisher = held_publisher  # type: ignore[method-assign]
        node.trigger_configure()
        node.trigger_activate()
        assert wait_until(lambda: robot.instruction.get_subscription_count() > 0)
        drive(robot)


def test_after_a_deactivation_while_driving_an_activated_node_is_silent() -> None:
    with follower_and_robot() as (node, robot):
        drive(robot)
        node.trigger_deactivate()
        time.sleep(0.5)
        activated = time.monotonic()
        node.trigger_activate()
        time.sleep(1.0)
        assert robot.commanded_since(activated) == []


def test_the_status_is_published_while_the_robot_waits() -> None:
    with follower_and_robot() as (node, robot):
        statuses: list[FollowStatus] = []
        robot.create_subscription(FollowStatus, "/follower/status", statuses.append, 10)
        assert wait_until(lambda: node.count_subscribers("/follower/status") > 0)
        drive(robot)
        robot.say("wait")
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        time.sleep(1.0)
        statuses.clear()
        assert wait_until(lambda: len(statuses) > 3)
        assert {one.state for one in statuses} == {"paused"}


def test_poses_from_elsewhere_do_not_disturb_a_goal_that_has_its_own() -> None:
    with follower_and_robot(source="pose") as (node, robot):
        control, taken = node._control, []
        assert control is not None
        poses = robot.create_publisher(PoseStamped, "target_pose", 1)
        assert wait_until(lambda: poses.get_subscription_count() > 0)
        control.take_observation = taken.append  # type: ignore[method-assign]
        pose = PoseStamped()
        pose.header.frame_id = "odom"
        for source, comes in (("/ball_pose", False), ("", True)):
            node._begin(Task(Mode.FOLLOW, "the red ball", place_source=source), lambda _: None)
            taken.clear()
            for _ in range(5):
                pose.header.stamp = robot.get_clock().now().to_msg()
                poses.publish(pose)
                time.sleep(0.1)
            assert bool(taken) == comes


def test_a_stop_while_the_clock_stands_still_sends_zero_and_then_nothing() -> None:
    with follower_and_robot(use_sim_time=True) as (node, robot):
        clock = robot.create_publisher(Clock, "/clock", 10)
        assert wait_until(lambda: clock.get_subscription_count() > 0)
        now = robot.get_clock().now().nanoseconds * 1e-9

        def tick() -> None:
            clock.publish(Clock(clock=robot.get_clock().now().to_msg()))

        ticking = robot.create_timer(0.02, tick)
        assert wait_until(lambda: node.get_clock().now().nanoseconds * 1e-9 > now)
        drive(robot)
        robot.destroy_timer(ticking)
        assert wait_until(lambda: "clock stands still" in robot.states[-1])
        assert robot.velocity == STANDSTILL
        stopped = time.monotonic()
        robot.say("stop")
        assert wait_until(lambda: node._control is not None and node._control.task is None)
        time.sleep(1.5)
        sent = robot.commanded_since(stopped)
        assert STANDSTILL in sent and set(sent) == {STANDSTILL}
        assert robot.commanded_since(time.monotonic() - 0.3) == []
