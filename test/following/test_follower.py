# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The follower in a closed loop: what it does and what it says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from follow_loop import BLIND, TICK, Loop, moved, standing

from referdino_core.following import (
    Follower,
    FollowerSettings,
    FollowState,
    Goal,
    Inputs,
    Measured,
    Mode,
    Outcome,
)
from referdino_core.following.motion import ControlSettings
from referdino_core.following.sight import SightSettings
from referdino_core.target import Judgement


def test_it_binds_turns_drives_and_holds_the_distance() -> None:
    loop = standing(3.0, 1.2)
    assert not moved(loop.since(0.0))
    loop.run(0.5)
    assert loop.decision.state is FollowState.LOOKING and loop.decision.track_id == 0
    loop.run(14.0)
    assert loop.decision.state is FollowState.HOLDING and loop.decision.track_id == 1
    assert loop.distance == pytest.approx(1.0, abs=0.1)
    assert abs(loop.bearing) < math.radians(5)
    assert loop.decision.distance == pytest.approx(loop.distance, abs=0.02)
    assert loop.decision.stands_still and "At its place" in loop.decision.reason


def test_a_target_that_walks_on_is_followed_at_its_distance() -> None:
    loop = Loop(lambda time: (2.5 + 0.2 * time, 0.1 * time))
    loop.run(25.0)
    errors = []
    for _ in range(100):
        loop.run(TICK)
        errors.append(loop.distance - 1.0)
        assert abs(loop.bearing) < math.radians(6)
    assert max(map(abs, errors)) < 0.1
    assert loop.decision.velocity == pytest.approx([0.2, 0.1], abs=0.03)


@pytest.mark.parametrize("distance", [0.35, 0.6, 0.85])
def test_a_target_nearer_than_asked_is_faced_and_never_turned_away_from(distance: float) -> None:
    angle = 0.4
    reach = distance + 0.2
    loop = standing(reach * math.cos(angle), reach * math.sin(angle))
    loop.run(6.0)
    assert loop.way == 0.0
    assert abs(loop.bearing) < math.radians(5)
    assert all(abs(decision.bearing or 0.0) < angle + 0.05 for decision in loop.decisions)
    assert "nearer than asked" in loop.decision.reason


def test_it_backs_off_where_that_is_allowed() -> None:
    settings = FollowerSettings(control=ControlSettings(allow_reverse=True))
    loop = Loop(lambda time: (0.8, 0.0), settings=settings)
    loop.run(10.0)
    assert loop.distance == pytest.approx(1.0, abs=0.1)
    assert min(decision.command.linear for decision in loop.decisions) >= -0.1


@pytest.mark.parametrize("mode", list(Mode))
def test_without_images_nothing_moves_not_even_to_look_around(mode: Mode) -> None:
    loop = Loop(lambda time: (-2.0, 0.0), goal=Goal("1", mode), mute=lambda time: time > 1.0)
    loop.run(1.6)
    turned = loop.pose.yaw
    loop.run(3.0)
    assert abs(loop.pose.yaw - turned) < 0.05 and loop.way == 0.0
    assert loop.decision.state is FollowState.FAULTY and "silent" in loop.decision.reason
    never = Loop(lambda time: (2.0, 0.0), goal=Goal("1", mode), mute=lambda time: True)
    never.run(2.0)
    assert never.decision.stands_still and "No image has been judged" in never.decision.reason


def test_it_goes_on_when_the_camera_comes_back() -> None:
    loop = Loop(lambda time: (4.0, 0.0), mute=lambda time: 3.0 < time < 6.0)
    loop.run(6.0)
    assert loop.decision.stands_still
    loop.run(10.0)
    assert loop.decision.state is FollowState.HOLDING


@pytest.mark.parametrize("seconds", [1.0, 5.0, 8.0])
def test_a_target_that_is_hidden_is_waited_for_and_then_followed_again(seconds: float) -> None:
    loop = Loop(lambda time: (4.0, 0.0), sees=lambda time: not 3.0 < time < 3.0 + seconds)
    loop.run(3.1)
    before = loop.way
    loop.run(seconds - 0.1)
    hidden = loop.since(3.3)
    assert loop.way - before <= BLIND
    states = {decision.state for decision in hidden}
    assert FollowState.COASTING in states and FollowState.WAITING in states
    assert (FollowState.SEARCHING in states) == (seconds > 6.0)
    loop.run(20.0)
    assert loop.decision.state is FollowState.HOLDING and loop.decision.track_id == 1


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_target_that_leaves_the_view_is_looked_for_on_that_side(side: float) -> None:
    loop = Loop(
        lambda time: (1.2, side * max(0.0, time - 2.0) * 1.7), sees=lambda time: time < 2.45
    )
    loop.run(10.0)
    first = next(one for one in loop.decisions if one.state is FollowState.SEARCHING)
    assert first.command.angular * side > 0
    assert "Looking around" in first.reason


def test_a_search_that_finds_nothing_ends_lost_and_standing() -> None:
    loop = Loop(lambda time: (3.0, 0.0), sees=lambda time: time < 2.0)
    loop.run(30.0)
    assert loop.decision.outcome is Outcome.LOST and loop.decision.stands_still
    assert loop.decision.reason.startswith("Lost: Not seen for")
    turned = sum(abs(one.command.angular) * TICK for one in loop.decisions)
    assert turned <= 2 * math.pi + 0.2


def test_find_turns_until_the_target_is_seen_and_faces_it() -> None:
    loop = standing(-2.0, 1.0)
    loop.goal = Goal("1", Mode.FIND)
    loop.run(12.0)
    assert loop.decision.outcome is Outcome.FOUND
    assert abs(loop.bearing) < 0.12 and loop.way == 0.0


def test_find_ends_when_it_is_nowhere() -> None:
    loop = standing()
    loop.goal, loop.sees = Goal("1", Mode.FIND), lambda time: False
    loop.change = lambda time, observation: replace(observation, track_id=0)
    loop.run(16.0)
    assert loop.decision.outcome is Outcome.NOT_FOUND and loop.decision.stands_still


def test_an_approach_ends_once_it_is_there_and_facing_never_drives() -> None:
    loop = standing(2.0, 0.5)
    loop.goal = Goal("1", Mode.APPROACH, distance=0.8)
    loop.run(12.0)
    assert loop.decision.outcome is Outcome.REACHED
    assert loop.distance == pytest.approx(0.8, abs=0.1)
    facing = standing(2.0, 0.8)
    facing.goal = Goal("1", Mode.FACE)
    facing.run(6.0)
    assert facing.way == 0.0 and abs(facing.bearing) < 0.06
    assert facing.decision.outcome is None


def test_a_goal_ends_in_time() -> None:
    loop = standing()
    loop.goal = Goal("1", max_duration=4.0)
    loop.run(4.2)
    assert loop.decision.outcome is Outcome.TIMEOUT and loop.decision.stands_still
    assert "4 s are over" in loop.decision.reason


def test_without_depth_it_turns_and_does_not_drive() -> None:
    loop = standing(2.5, 1.0)
    loop.change = lambda time, observation: replace(
        observation,
        kind=Measured.BEARING,
        position=None,
        covariance=None,
        reason="0 of 300 masked pixels have a valid depth.",
    )
    loop.run(6.0)
    assert loop.way == 0.0 and abs(loop.bearing) < 0.06
    assert loop.decision.state is FollowState.BEARING_ONLY
    assert "0 of 300" in loop.decision.reason


def test_the_dead_man_switch_and_waiting_stop_at_once_and_keep_the_identity() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.inputs = lambda time, inputs: replace(
        inputs, enabled=not 3.0 < time < 4.0, paused=5.0 < time < 6.0
    )
    loop.run(3.1)
    assert loop.decision.state is FollowState.DISABLED and loop.decision.stands_still
    loop.run(1.5)
    assert loop.decision.state is FollowState.DRIVING
    loop.run(0.5)
    assert loop.decision.state is FollowState.PAUSED and loop.decision.stands_still
    loop.run(12.0)
    assert loop.decision.state is FollowState.HOLDING and loop.decision.track_id == 1


def test_after_a_goal_zero_is_sent_for_a_while_and_then_nothing() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    assert not loop.run(TICK * 40).stands_still
    loop.goal = None
    loop.run(2.0)
    after = loop.since(2.0)
    assert all(one.stands_still and one.state is FollowState.IDLE for one in after)
    sent = [one.publish for one in after]
    assert sent[: sent.count(True)] == [True] * sent.count(True)
    assert 0.4 <= sent.count(True) <= 12  # ticks


def test_a_follower_without_a_goal_is_silent() -> None:
    decision = Follower().step(5.0, Inputs())
    assert decision.state is FollowState.IDLE and not decision.publish


def test_another_goal_begins_anew_and_a_changed_distance_goes_on() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.run(3.0)
    loop.goal = Goal("1", distance=2.0)
    assert loop.run(TICK).track_id == 1
    loop.run(10.0)
    assert loop.distance == pytest.approx(2.0, abs=0.1)
    loop.goal = Goal("2", distance=2.0)
    decision = loop.run(TICK)
    assert decision.track_id == 0 and decision.state is FollowState.LOOKING


def test_rare_images_slow_the_robot_down() -> None:
    settings = FollowerSettings(sight=SightSettings(max_age=1.2))
    loop = Loop(lambda time: (4.0, 0.0), settings=settings, image_period=0.5, latency=0.4)
    blind = 0.0
    for _ in range(900):
        loop.run(TICK)
        blind = max(blind, loop.decision.blind_distance)
    assert blind <= BLIND + 0.01
    assert loop.distance == pytest.approx(1.0, abs=0.12)


def test_images_older_than_allowed_move_nothing_and_are_named() -> None:
    loop = Loop(lambda time: (4.0, 0.0), image_period=0.5, latency=0.52)
    loop.run(10.0)
    assert loop.way == 0.0
    assert "0.5 s are allowed" in loop.decision.reason


def test_it_turns_no_faster_than_the_images_can_follow() -> None:
    settings = FollowerSettings(field_of_view=2.0, sight=SightSettings(max_age=2.0))
    loop = Loop(lambda time: (1.0, 1.2), settings=settings, image_period=1.0)
    loop.run(8.0)
    assert 0.0 < max(abs(one.command.angular) for one in loop.decisions) <= 2.0 / 3 + 1e-9


def test_a_reset_stream_ends_the_goal_and_late_images_are_nothing() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.change = lambda time, observation: replace(
        observation, judgement=Judgement.LATE if 2.0 < time < 2.3 else Judgement.JUDGED
    )
    loop.run(3.0)
    assert loop.decision.outcome is None
    loop.change = lambda time, observation: replace(observation, judgement=Judgement.RESET)
    loop.run(0.5)
    assert loop.decision.outcome is Outcome.RESET and loop.decision.stands_still


def test_speeds_never_leave_their_limits_and_standstill_has_a_reason() -> None:
    rng = np.random.default_rng(4)
    settings = FollowerSettings()
    for number in range(30):
        spots = np.array([2.5, 0.0]) + np.cumsum(rng.normal(0, 0.15, (400, 2)), axis=0)
        loop = Loop(
            lambda time, spots=spots: tuple(spots[int(time / TICK) % 400]),  # type: ignore[misc]
            sees=lambda time, phase=number: math.sin(3 * time + phase) > -0.6,
        )
        loop.run(8.0)
        previous = 0.0
        for decision in loop.decisions:
            command = decision.command
            assert 0.0 <= command.linear <= settings.limits.linear
            assert abs(command.angular) <= settings.limits.angular
            rise = settings.limits.acceleration * TICK + 1e-9
            assert command.linear - previous <= rise
            assert decision.reason
            previous = command.linear
