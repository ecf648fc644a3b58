# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The follower in a closed loop while inputs fail, lie, come late or stand in its way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from follow_loop import BLIND, TICK, Loop, standing

from referdino_core.following import (
    FollowerSettings,
    FollowState,
    Goal,
    Inputs,
    Measured,
    Observation,
    Odometry,
    Outcome,
    Pose,
)
from referdino_core.following.odometry import Way
from referdino_core.following.sight import SightSettings


@pytest.mark.parametrize("target", [(2.5, 0.0), (4.0, 1.5)])
def test_a_camera_that_dies_stops_the_robot_within_the_blind_distance(
    target: tuple[float, float],
) -> None:
    loop = Loop(lambda time: target, mute=lambda time: time > 3.0)
    loop.run(3.0)
    assert loop.velocity.linear > 0.2
    before = loop.way
    loop.run(3.0)
    assert loop.way - before <= BLIND
    assert loop.decision.state is FollowState.FAULTY and loop.decision.stands_still
    assert "silent" in loop.decision.reason


def test_odometry_that_dies_stops_the_robot() -> None:
    loop = standing()
    frozen = Odometry(103.0, Pose(0.5, 0.0, 0.0))

    def stale(time: float, inputs: Inputs) -> Inputs:
        return replace(inputs, odometry=frozen) if time > 3.0 else inputs

    loop.inputs = stale
    loop.run(5.0)
    assert loop.decision.state is FollowState.FAULTY and loop.decision.stands_still
    assert "odometry is 1.9" in loop.decision.reason
    loop.inputs = lambda time, inputs: replace(inputs, odometry=None)
    assert "No odometry" in loop.run(0.1).reason


@pytest.mark.parametrize(
    ("stamp", "words"),
    [
        (lambda stamp: 0.0, "no stamp"),
        (lambda stamp: stamp + 5.0, "in the future"),
        (lambda stamp: stamp - 0.5, "after a newer one"),
        (lambda stamp: stamp + 1.7e9, "use_sim_time"),
    ],
)
def test_images_whose_stamps_cannot_be_are_not_driven_by(stamp, words) -> None:  # type: ignore[no-untyped-def]
    def spoilt(time: float, observation: Observation) -> Observation:
        return observation if time < 3.0 else replace(observation, stamp=stamp(observation.stamp))

    loop = Loop(lambda time: (4.0, 0.0), change=spoilt)
    loop.run(3.1)
    before = loop.way
    loop.run(0.3)
    assert words in loop.follower.memory.sight.complaint
    loop.run(3.0)
    assert loop.way - before <= BLIND and loop.decision.stands_still


def test_wall_time_against_simulated_time_is_named() -> None:
    loop = standing()
    loop.change = lambda time, observation: replace(observation, stamp=time + 1.0)
    loop.began = 1.7e9
    loop.run(2.0)
    assert loop.way == 0.0
    assert "another clock" in loop.decision.reason


def test_a_clock_that_jumps_back_ends_the_goal() -> None:
    loop = standing()
    loop.run(3.0)
    loop.began -= 50.0
    decision = loop.run(TICK)
    assert decision.outcome is Outcome.RESET and decision.stands_still
    assert "jumped back" in decision.reason
    assert loop.run(2.0).outcome is Outcome.RESET


def test_depth_that_fails_on_the_way_stops_the_drive() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.change = lambda time, observation: (
        observation
        if time < 3.0
        else replace(observation, kind=Measured.BEARING, position=None, covariance=None)
    )
    loop.run(3.1)
    before = loop.way
    loop.run(2.0)
    assert loop.way - before <= BLIND and loop.decision.state is FollowState.BEARING_ONLY


def test_something_else_in_the_way_blocks_until_it_is_gone() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.change = lambda time, observation: replace(
        observation, free_distance=1.0 - loop.pose.x if 0 < time < 8.0 else math.inf
    )
    loop.run(8.0)
    assert loop.decision.state is FollowState.BLOCKED
    assert "Something else is 0.3" in loop.decision.reason
    assert 1.0 - loop.pose.x >= 0.34
    loop.run(12.0)
    assert loop.decision.state is FollowState.HOLDING


@pytest.mark.parametrize("max_age", [0.5, 1.2, 5.0])
@pytest.mark.parametrize("latency", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("period", [0.05, 0.6, 1.0])
def test_a_wall_is_not_driven_into_however_rare_and_late_the_images(
    period: float, latency: float, max_age: float
) -> None:
    settings = FollowerSettings(sight=SightSettings(max_age=max_age))
    loop = Loop(lambda time: (4.0, 0.0), settings=settings, image_period=period, latency=latency)
    wall = 1.5
    loop.change = lambda time, observation: replace(observation, free_distance=wall - loop.pose.x)
    nearest = wall
    for _ in range(500):
        loop.run(TICK)
        nearest = min(nearest, wall - loop.pose.x)
    assert nearest >= settings.clearance - 0.05
    if period + latency < max_age and max_age > 0.5:
        assert loop.decision.state is FollowState.BLOCKED and nearest < settings.clearance + 0.1


def test_where_depth_does_not_show_the_way_ahead_nothing_is_driven() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.change = lambda time, observation: replace(
        observation, free_distance=math.nan if 3.0 < time < 5.0 else math.inf
    )
    loop.run(3.2)
    before = loop.way
    loop.run(1.7)
    assert loop.decision.state is FollowState.BLOCKED and loop.way - before < BLIND
    assert "whether the way ahead is free" in loop.decision.reason
    loop.run(1.0)
    assert loop.decision.state is FollowState.DRIVING


@pytest.mark.parametrize("stall", [0.6, 3.0, 100.0])
@pytest.mark.parametrize("zeros", [0.1, 0.5])
def test_zero_is_sent_after_a_goal_however_late_that_tick_is(zeros: float, stall: float) -> None:
    loop = Loop(lambda time: (4.0, 0.0), settings=FollowerSettings(zeros=zeros))
    loop.run(3.0)
    assert not loop.decision.stands_still
    loop.goal = None
    loop.began += stall
    loop.run(2.0)
    sent = [one.publish for one in loop.since(3.0)]
    assert all(one.stands_still for one in loop.since(3.0))
    assert sent[0] and zeros <= sent.count(True) * TICK <= zeros + 2 * TICK


def test_after_a_clock_that_jumps_back_zero_is_sent_no_longer_than_usual() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.run(3.0)
    loop.began -= 50.0
    loop.run(5.0)
    sent = [one.publish for one in loop.since(3.0)]
    assert sent[0] and sent.count(True) <= 12  # ticks


NAN = math.nan


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: replace(one, position=np.array([NAN, 0.0])),
        lambda one: replace(one, covariance=np.full((2, 2), NAN)),
        lambda one: replace(one, kind=Measured.BEARING, position=None, bearing=NAN),
        lambda one: replace(one, radius=NAN),
    ],
)
@pytest.mark.parametrize("begin", [0.0, 3.0])
def test_a_measurement_that_is_not_a_number_moves_nothing(spoil, begin: float) -> None:  # type: ignore[no-untyped-def]
    loop = standing(4.0, 1.0)
    loop.change = lambda time, one: spoil(one) if time >= begin else one
    loop.run(begin + 0.5)
    before = loop.pose
    loop.run(8.0)
    assert math.isfinite(loop.pose.x + loop.pose.yaw)
    assert abs(loop.pose.yaw - before.yaw) < 2 * math.pi
    assert math.hypot(loop.pose.x - before.x, loop.pose.y - before.y) < BLIND
    assert loop.decision.stands_still


def test_an_odometry_without_speeds_does_not_lengthen_the_blind_drive() -> None:
    loop = Loop(lambda time: (4.0, 0.0), mute=lambda time: time > 3.0)
    loop.settings = FollowerSettings(sight=SightSettings(max_age=5.0))
    loop.follower.settings = loop.settings
    loop.inputs = lambda time, inputs: replace(
        inputs, odometry=Odometry(loop.began + time, loop.pose)
    )
    loop.run(3.0)
    before = loop.way
    loop.run(3.0)
    assert 0.0 < loop.way - before <= BLIND


@pytest.mark.parametrize("period", [1, 2, 4])
def test_rare_odometry_does_not_lengthen_the_way(period: int) -> None:
    way, driven = Way(), 0.0
    odometry = Odometry(100.0, Pose(), 0.3)
    for tick in range(1, 81):
        driven = 0.3 * TICK * tick
        if tick % period == 0:
            odometry = Odometry(100.0 + tick * TICK, Pose(driven), 0.3)
        way = way.on(100.0 + tick * TICK, odometry, 0.3, TICK)
    assert way.since(102.0) == pytest.approx(0.6, abs=0.01 + 0.3 * TICK * period)


@pytest.mark.parametrize("silence", [0.0, 1.0, 5.0])
def test_the_same_number_in_another_stream_is_another_object(silence: float) -> None:
    loop = Loop(lambda time: (4.0, 0.0), mute=lambda time: 3.0 < time <= 3.0 + silence)
    loop.change = lambda time, observation: replace(observation, stream=7 if time <= 3.0 else 8)
    loop.run(3.0)
    before = loop.way
    loop.run(silence + 1.0)
    assert loop.way - before <= BLIND
    assert loop.decision.outcome is Outcome.RESET and "began anew" in loop.decision.reason
    loop.goal = Goal("2")
    loop.run(3.0)
    assert loop.decision.state is FollowState.DRIVING
