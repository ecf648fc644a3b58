# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The control law and the search in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from referdino_core.following.motion import (
    ControlSettings,
    MotionLimits,
    RelativeTarget,
    Velocity,
    bounded,
    braking_speed,
    driving_speed,
    is_driving,
    limited,
    turning_speed,
)
from referdino_core.following.searching import (
    Search,
    SearchSettings,
    advance_search,
    search_speed,
)

CONTROL, LIMITS = ControlSettings(), MotionLimits()


def target(distance: float, bearing: float = 0.0, **speeds: float) -> RelativeTarget:
    return RelativeTarget(distance, distance + 0.2, bearing, **speeds)


@pytest.mark.parametrize("latency", [0.0, 0.1, 0.5])
def test_a_base_stops_within_the_gap_with_its_latency(latency: float) -> None:
    for gap in (0.01, 0.1, 1.0):
        speed = braking_speed(gap, 1.0, latency)
        assert speed * latency + speed**2 / 2 == pytest.approx(gap)
    assert braking_speed(0.0, 1.0, latency) == braking_speed(-1.0, 1.0, latency) == 0.0


def test_speed_falls_with_the_bearing_and_is_zero_beyond_the_limit() -> None:
    assert driving_speed(target(3.0), 1.0, CONTROL, LIMITS) == pytest.approx(0.3)
    assert driving_speed(target(3.0, math.pi / 6), 1.0, CONTROL, LIMITS) == pytest.approx(0.225)
    assert driving_speed(target(3.0, math.pi / 4), 1.0, CONTROL, LIMITS) == 0.0
    assert driving_speed(target(3.0, math.pi), 1.0, CONTROL, LIMITS) == 0.0


@pytest.mark.parametrize("distance", [0.1, 0.3, 0.5, 0.7, 0.85])
def test_from_a_target_that_is_too_near_it_never_turns_away(distance: float) -> None:
    near = target(distance, 0.3)
    assert driving_speed(near, 1.0, CONTROL, LIMITS) == 0.0
    assert turning_speed(near, 0.0, CONTROL, LIMITS) > 0
    assert turning_speed(target(distance), 0.0, CONTROL, LIMITS) == 0.0
    backing = driving_speed(target(distance), 1.0, replace(CONTROL, allow_reverse=True), LIMITS)
    assert -LIMITS.reverse <= backing < 0


def test_the_minimum_distance_is_never_undercut() -> None:
    assert driving_speed(target(0.42), 0.1, CONTROL, LIMITS) <= braking_speed(0.02, 1.0, 0.1)
    assert driving_speed(target(0.4), 0.1, CONTROL, LIMITS) == 0.0


def test_a_receding_target_is_gone_along_with() -> None:
    assert driving_speed(target(1.0, receding=0.2), 1.0, CONTROL, LIMITS) == pytest.approx(0.2)
    assert driving_speed(target(1.2, receding=-0.3), 1.0, CONTROL, LIMITS) == 0.0
    assert turning_speed(target(1.0, crossing=0.12), 0.0, CONTROL, LIMITS) == pytest.approx(0.1)


def test_what_has_settled_rests_until_the_error_leaves_the_deadband() -> None:
    assert is_driving(target(1.06), 1.0, True, CONTROL)
    assert not is_driving(target(1.06), 1.0, False, CONTROL)
    assert is_driving(target(1.11), 1.0, False, CONTROL)
    assert not is_driving(target(1.02), 1.0, True, CONTROL)
    assert is_driving(target(1.0, receding=0.1), 1.0, False, CONTROL)


def test_changes_of_speed_are_limited_and_braking_is_harder() -> None:
    begun = limited(Velocity(), Velocity(0.3, -0.8), 0.1, LIMITS)
    assert (begun.linear, begun.angular) == pytest.approx((0.05, -0.15))
    assert limited(Velocity(0.3, 0.8), Velocity(), 0.1, LIMITS).linear == pytest.approx(0.2)
    assert limited(Velocity(0.3), Velocity(9.0, 9.0), 9.0, LIMITS) == Velocity(0.3, 0.8)


def test_a_gap_bounds_the_way_ahead_only() -> None:
    assert bounded(Velocity(0.3, 0.2), -1.0, LIMITS) == Velocity(0.0, 0.2)
    assert bounded(Velocity(-0.1), -1.0, LIMITS) == Velocity(-0.1)
    assert bounded(Velocity(0.3), 9.0, LIMITS) == Velocity(0.3)


def swept(side: float, one_way: bool = False, rate: float = 10.0) -> list[float]:
    """Headings of a base that turns as the search says, at 20 Hz."""
    settings, search = SearchSettings(), Search(side, 0.0, one_way=one_way)
    heading, headings = 0.0, []
    for _ in range(10_000):
        speed = search_speed(search, 1.05, rate, settings)
        if speed is None:
            break
        heading += speed / 20
        search = advance_search(search, heading, 1 / 20)
        headings.append(heading)
    return headings


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_a_search_goes_to_the_side_of_the_loss_first_then_to_the_other(side: float) -> None:
    headings = [side * heading for heading in swept(side)]
    assert headings[0] > 0
    assert max(headings) == pytest.approx(math.radians(120), abs=0.03)
    assert min(headings) == pytest.approx(math.radians(-120), abs=0.06)
    assert headings.index(max(headings)) < headings.index(min(headings))
    assert max(swept(side, one_way=True), key=abs) == pytest.approx(side * 2 * math.pi, abs=0.03)


def test_a_search_is_slow_enough_for_rare_images_and_ends_in_time() -> None:
    search = Search(1.0, 0.0)
    assert search_speed(search, 1.05, 10.0, SearchSettings()) == pytest.approx(0.5)
    assert search_speed(search, 1.05, 1.0, SearchSettings()) == pytest.approx(0.35)
    assert len(swept(1.0, rate=1.0)) == pytest.approx(15 * 20, abs=2)
    used = Search(1.0, 0.0, spent=(6.0, 3.0))
    assert search_speed(replace(used, turned=0.3), 1.05, 10.0, SearchSettings()) is None
