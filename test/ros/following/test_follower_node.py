# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The follower as a real node on a real graph, in a loop with a robot on a plane."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import rclpy
from follow_graph import ON_A_BUSY_MACHINE, Robot, follower_and_robot, wait_until
from geometry_msgs.msg import Twist, TwistStamped
from node_in_process import context_of_tests
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from referdino.action import Follow
from referdino.msg import LocatedTarget
from std_msgs.msg import Bool, String

from referdino_core.errors import ReferDINOError
from referdino_core.following import STANDSTILL
from referdino_ros.following.follower_node import FollowerNode

pytestmark = pytest.mark.ros
PATIENCE = 60.0


def test_an_instruction_moves_the_robot_and_stop_stops_it() -> None:
    with follower_and_robot() as (_, robot):
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.way > 0.2)
        assert robot.said == ["the red ball"]
        stopped = time.monotonic()
        robot.say("stop")
        assert wait_until(lambda: STANDSTILL in robot.commanded_since(stopped))
        way = robot.way
        time.sleep(1.5)
        after = robot.commanded_since(stopped + 0.3)
        assert robot.way - way < 0.02
        assert set(after) == {STANDSTILL} and len(after) < 14  # half a second, then silence
        assert "There is no goal" in robot.states[-1]


def test_it_reaches_the_distance_and_says_where_it_is() -> None:
    with follower_and_robot(TwistStamped) as (_, robot):
        robot.place = (1.5, 0.3)
        robot.say("go to the red ball")
        assert wait_until(lambda: any("ended" in state for state in robot.states))
        assert robot.distance == pytest.approx(1.0, abs=0.12)
        assert abs(robot.bearing) < math.radians(10)


def test_what_is_not_understood_moves_nothing() -> None:
    vocabulary = "the red ball blue box"
    with follower_and_robot(vocabulary=vocabulary) as (_, robot):
        heard: list[str] = []
        robot.create_subscription(String, "/follower/heard", lambda m: heard.append(m.data), 10)
        assert wait_until(lambda: robot.count_publishers("/follower/heard") > 0)
        time.sleep(0.5)  # for the rest of the discovery
        texts = ("follow the", "follow the mug", "good morning", "go to")
        for text in texts:
            robot.say(text)
        assert wait_until(lambda: len(heard) == len(texts))
        time.sleep(0.5)
        assert robot.way == 0.0 and robot.said == []


def test_waiting_and_going_on() -> None:
    with follower_and_robot() as (_, robot):
        robot.place = (5.0, 0.0)
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.way > 0.1)
        robot.say("wait")
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        way = robot.way
        time.sleep(1.0)
        assert robot.way - way < 0.02
        robot.say("continue")
        assert wait_until(lambda: robot.way - way > 0.1)


@pytest.mark.parametrize("offset", [5.0, -1e9])
def test_places_of_another_clock_are_not_driven_by(offset: float) -> None:
    with follower_and_robot() as (_, robot):
        robot.stamp_offset = offset
        robot.say("follow the red ball")
        assert wait_until(lambda: bool(robot.states) and "use_sim_time" in robot.states[-1])
        time.sleep(1.0)
        assert robot.way == 0.0
        assert "use_sim_time" in robot.states[-1]


def test_places_that_stop_coming_stop_the_robot() -> None:
    with follower_and_robot() as (_, robot):
        robot.place = (5.0, 0.0)
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.velocity.linear > 0.25)
        robot.mute, way = True, robot.way
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        assert robot.way - way < 0.2
        assert wait_until(lambda: "silent" in robot.states[-1])
        robot.mute = False
        assert wait_until(lambda: robot.velocity.linear > 0.1)


def test_odometry_that_stops_coming_stops_the_robot() -> None:
    with follower_and_robot() as (_, robot):
        robot.place = (5.0, 0.0)
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.velocity.linear > 0.25)
        robot.lame = True
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        assert wait_until(lambda: "odometry is" in robot.states[-1])
        robot.lame = False
        assert wait_until(lambda: robot.velocity.linear > 0.1)


def test_two_images_a_second_slow_the_robot_down() -> None:
    with follower_and_robot() as (_, robot):
        robot.place, robot.every = (5.0, 0.0), 5
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.way > 0.4)
        blind = np.diff(robot.looks).max()
        assert blind < 0.12 + 0.06  # limits.blind_distance, and what a command takes to act
        assert max(velocity.linear for _, velocity in robot.commands) <= 0.3


def test_a_switch_of_identity_stops_the_robot() -> None:
    with follower_and_robot() as (_, robot):
        robot.place = (5.0, 0.0)
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.velocity.linear > 0.25)

        def switched(entry: LocatedTarget) -> LocatedTarget:
            entry.track_id = 2
            entry.position.y = 1.5
            return entry

        robot.change = switched
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        assert wait_until(lambda: "from object 1 to object 2" in robot.states[-1])


def test_the_dead_man_switch() -> None:
    with follower_and_robot(require_enable=True) as (_, robot):
        robot.place = (5.0, 0.0)
        enable = robot.create_publisher(Bool, "enable", 10)
        robot.say("follow the red ball")
        assert wait_until(lambda: bool(robot.states) and "dead-man" in robot.states[-1])
        time.sleep(1.5)
        assert robot.way == 0.0
        held = robot.create_timer(0.1, lambda: enable.publish(Bool(data=True)))
        assert wait_until(lambda: robot.velocity.linear > 0.2)
        robot.destroy_timer(held)
        assert wait_until(lambda: robot.velocity == STANDSTILL)


def test_an_action_gives_feedback_and_a_result() -> None:
    with follower_and_robot() as (_, robot):
        client = ActionClient(robot, Follow, "/follower/follow")
        assert client.wait_for_server(PATIENCE)
        heard: list[Any] = []
        goal = Follow.Goal(text="the red ball", mode=Follow.Goal.APPROACH, distance=1.2)
        sent = client.send_goal_async(goal, feedback_callback=heard.append)
        assert wait_until(sent.done)
        done = sent.result().get_result_async()
        assert wait_until(done.done)
        result = done.result().result
        assert result.outcome == Follow.Result.REACHED, result
        assert result.distance == pytest.approx(1.2, abs=0.12)
        statuses = [one.feedback.status for one in heard]
        assert {"looking", "driving"} <= {one.state for one in statuses}
        driving = next(one for one in statuses if one.state == "driving")
        assert driving.track_id == 1 and driving.linear >= 0
        assert driving.age <= ON_A_BUSY_MACHINE["sight.max_age"]


def test_goals_are_cancelled_and_replaced_at_any_time() -> None:
    with follower_and_robot() as (_, robot):
        robot.place = (6.0, 0.0)
        client = ActionClient(robot, Follow, "/follower/follow")
        assert client.wait_for_server(PATIENCE)

        def send(text: str) -> tuple[Any, Any]:
            sent = client.send_goal_async(Follow.Goal(text=text))
            assert wait_until(sent.done)
            handle = sent.result()
            return handle, handle.get_result_async()

        _, first = send("follow the red ball")
        time.sleep(0.3)
        handle, second = send("the red ball")
        assert wait_until(first.done)
        assert "Another goal" in first.result().result.reason
        assert wait_until(lambda: robot.velocity.linear > 0.1)
        assert wait_until(handle.cancel_goal_async().done)
        assert wait_until(second.done)
        assert second.result().status == 5  # CANCELED
        assert wait_until(lambda: robot.velocity == STANDSTILL)
        _, refused = send("follow the")
        assert wait_until(refused.done)
        assert refused.result().result.outcome == Follow.Result.REFUSED
        assert "breaks off" in refused.result().result.reason


def test_closing_the_node_takes_its_action_and_topics_away() -> None:
    action = "/follower/follow/_action/send_goal"
    with follower_and_robot() as (_, robot):
        assert wait_until(lambda: robot.count_services(action) == 1)
    with context_of_tests() as context:
        looks = rclpy.create_node("looks", context=context)
        assert wait_until(lambda: looks.count_services(action) == 0, 10.0)
        assert looks.count_publishers("/cmd_vel") == 0
        looks.destroy_node()


def put_ahead(robot: Robot, metres: float) -> None:
    """Put the target straight ahead of the robot, so many metres from its origin."""
    x, y = robot.pose.outward(np.array([metres, 0.0]))
    robot.place = (float(x), float(y))


def hidden(entry: LocatedTarget) -> LocatedTarget:
    entry.state, entry.measured, entry.place = 2, LocatedTarget.NOTHING, LocatedTarget.HIDDEN
    return entry


def without_depth(entry: LocatedTarget) -> LocatedTarget:
    entry.measured = LocatedTarget.BEARING
    return entry


def with_something_before_it(entry: LocatedTarget) -> LocatedTarget:
    entry.free_distance = 0.2
    return entry


def test_a_goal_is_cancelled_in_every_state() -> None:
    with follower_and_robot() as (_, robot):
        client = ActionClient(robot, Follow, "/follower/follow")
        assert client.wait_for_server(PATIENCE)
        for state, metres, change in (
            ("looking", None, None),
            ("driving", 6.0, None),
            ("holding", 1.2, None),
            ("bearing only", 3.0, without_depth),
            ("blocked", 6.0, with_something_before_it),
            ("waiting", 6.0, hidden),
            ("paused", 6.0, None),
        ):
            assert_cancelled(robot, client, state, metres, change)


def assert_cancelled(
    robot: Robot, client: ActionClient, state: str, metres: float | None, change: Any
) -> None:
    """A goal reaches the state; it is cancelled there, and the robot stands and stays."""
    robot.change, robot.place = lambda entry: entry, None
    if metres is not None:
        put_ahead(robot, metres)
    states: list[str] = []
    sent = client.send_goal_async(
        Follow.Goal(text="the red ball"),
        feedback_callback=lambda message: states.append(message.feedback.status.state),
    )
    assert wait_until(sent.done), state
    if change is not None:
        if state == "waiting":
            assert wait_until(lambda: "driving" in states)
        robot.change = change
    if state == "paused":
        robot.say("wait")
    assert wait_until(lambda: states[-1:] == [state]), (state, states)
    done = sent.result().get_result_async()
    assert wait_until(sent.result().cancel_goal_async().done), state
    assert wait_until(done.done), state
    assert done.result().status == 5, state  # CANCELED
    assert wait_until(lambda: robot.velocity == STANDSTILL), state
    way = robot.way
    time.sleep(0.5)
    assert robot.way == way, state


def test_an_instruction_to_an_inactive_node_is_not_kept_for_later() -> None:
    with follower_and_robot() as (node, robot):
        heard: list[str] = []
        robot.create_subscription(String, "/follower/heard", lambda m: heard.append(m.data), 10)
        assert wait_until(lambda: node.count_subscribers("/follower/heard") > 0)
        node.trigger_deactivate()
        robot.say("follow the red ball")
        assert wait_until(lambda: any("The node is inactive" in text for text in heard))
        node.trigger_activate()
        time.sleep(1.0)
        assert robot.way == 0.0
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.way > 0.1)


def test_deactivating_while_driving_sends_zero() -> None:
    with follower_and_robot() as (node, robot):
        robot.place = (6.0, 0.0)
        robot.say("follow the red ball")
        assert wait_until(lambda: robot.velocity.linear > 0.2)
        before = time.monotonic()
        node.trigger_deactivate()
        assert STANDSTILL in robot.commanded_since(before)
        time.sleep(0.5)
        assert robot.commanded_since(time.monotonic() - 0.2) == []


def test_a_base_of_the_other_type_and_a_second_publisher_are_named() -> None:
    with follower_and_robot(stamped="true") as (node, robot):
        robot.say("follow the red ball")
        assert wait_until(lambda: "does not hear it" in node._output.problem, 5.0)  # type: ignore[union-attr]
        assert robot.commands == []
    with follower_and_robot() as (node, robot):
        robot.create_publisher(Twist, "cmd_vel", 1)
        assert wait_until(lambda: "another publisher, robot" in node._output.problem, 5.0)  # type: ignore[union-attr]


def test_wrong_parameters_are_refused_in_one_line() -> None:
    with context_of_tests() as context:
        for name, value, words in (
            ("limits.linear", -1.0, "give a number from 0.01 to 5 m/s"),
            ("on_switch", "ignore", "choose one of stop, accept"),
            ("distance", "far", "give a number"),
            ("distance", 0.01, "0.1 to 20 m"),
            ("vocabulary", "mug table", "no description of an object"),
        ):
            overrides = [Parameter(name, value=value)]
            with pytest.raises(ReferDINOError, match=words):
                FollowerNode(context=context, parameter_overrides=overrides)
