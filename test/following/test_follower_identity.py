# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The follower and identities: what it binds, and what a switch or a twin does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from follow_loop import BLIND, Loop, moved, renamed, standing

from referdino_core.following import (
    FollowState,
    Goal,
    Observation,
    OnSwitch,
    Outcome,
    PlaceEvidence,
)
from referdino_core.target import TargetState


def test_another_identity_stops_the_robot_and_ends_the_goal() -> None:
    loop = Loop(lambda time: (4.0, 0.0), change=renamed(2, 3.0, 99.0, (3.5, 1.0)))
    loop.run(3.05)
    before = loop.way
    loop.run(1.0)
    assert loop.decision.state is FollowState.SWITCHED and loop.decision.stands_still
    assert "from object 1 to object 2" in loop.decision.reason
    loop.run(8.0)
    assert loop.decision.outcome is Outcome.SWITCHED
    assert loop.way - before <= BLIND


def test_an_identity_that_comes_back_is_followed_again() -> None:
    loop = Loop(lambda time: (4.0, 0.0), change=renamed(2, 3.0, 5.0, (3.5, 1.0)))
    loop.run(4.0)
    assert loop.decision.state is FollowState.SWITCHED and loop.decision.stands_still
    loop.run(14.0)
    assert loop.decision.state is FollowState.HOLDING and loop.decision.track_id == 1


def test_the_same_object_under_a_new_name_stops_the_robot_until_that_is_sure() -> None:
    loop = Loop(lambda time: (4.0, 0.0), change=renamed(2, 3.0, 99.0))
    loop.run(3.8)
    assert loop.decision.state is FollowState.SWITCHED and loop.decision.stands_still
    loop.run(14.0)
    assert loop.decision.track_id == 2 and loop.decision.state is FollowState.HOLDING


def test_what_moved_when_it_was_hidden_and_stopped_there_is_known_under_a_new_name() -> None:
    loop = Loop(lambda time: (3.0, 0.2 * min(time, 4.0)), change=renamed(2, 9.0, 99.0))
    loop.sees = lambda time: not 4.0 < time < 9.0
    loop.run(18.0)
    assert loop.decision.track_id == 2 and loop.decision.state is FollowState.HOLDING


def test_another_identity_that_is_not_seen_ends_nothing() -> None:
    loop = Loop(lambda time: (4.0, 0.0))
    loop.change = lambda time, observation: (
        Observation(observation.stamp, 2, TargetState.OCCLUDED)
        if 3.0 < time < 13.0
        else observation
    )
    loop.run(12.0)
    assert loop.decision.outcome is None and "which is not seen" in loop.decision.reason
    loop.run(20.0)
    assert loop.decision.state is FollowState.HOLDING


def test_what_is_recognised_elsewhere_while_the_place_is_taken_is_a_twin() -> None:
    def stolen(time: float, observation: Observation) -> Observation:
        if not 3.0 < time < 9.0:
            return observation
        twin = np.array([4.0, 0.2 * (time - 3.0) + 0.5])
        return replace(observation, position=twin, place=PlaceEvidence.PRESENT)

    loop = Loop(lambda time: (4.0, 0.0), change=stolen)
    loop.run(9.0)
    assert "something is at its place" in loop.decision.reason
    assert loop.decision.position == pytest.approx([4.0, 0.0], abs=0.05)
    loop.run(14.0)
    assert loop.decision.state is FollowState.HOLDING


@pytest.mark.parametrize(
    ("place", "state"),
    [
        (PlaceEvidence.PRESENT, FollowState.WAITING),
        (PlaceEvidence.HIDDEN, FollowState.WAITING),
        (PlaceEvidence.UNKNOWN, FollowState.SEARCHING),
        (PlaceEvidence.EMPTY, FollowState.SEARCHING),
    ],
)
def test_a_search_begins_later_while_something_is_at_the_place(
    place: PlaceEvidence, state: FollowState
) -> None:
    loop = Loop(lambda time: (3.0, 0.0), sees=lambda time: time < 2.0)
    loop.change = lambda time, observation: (
        observation if observation.position is not None else replace(observation, place=place)
    )
    loop.run(3.0)
    searches = loop.decision.state is FollowState.SEARCHING
    assert searches == (place is PlaceEvidence.EMPTY)
    loop.run(6.5)
    assert loop.decision.state is state
    assert place is PlaceEvidence.UNKNOWN or "place" in loop.decision.reason


def test_a_switch_is_accepted_where_that_was_asked_for() -> None:
    loop = Loop(lambda time: (4.0, 0.0), change=renamed(2, 3.0, 99.0, (3.0, 1.0)))
    loop.goal = Goal("1", on_switch=OnSwitch.ACCEPT)
    loop.run(5.0)
    assert loop.decision.track_id == 2
    assert loop.decision.position == pytest.approx([3.0, 1.0], abs=0.05)


def test_a_twin_under_the_same_identity_is_not_driven_to() -> None:
    def stolen(time: float, observation: Observation) -> Observation:
        if 3.0 < time < 3.4:
            return replace(observation, position=np.array([2.5, 2.0]), bearing=0.6)
        return observation

    loop = Loop(lambda time: (4.0, 0.0), change=stolen)
    loop.run(3.5)
    assert "sigma" in loop.decision.reason
    loop.run(14.0)
    assert loop.decision.state is FollowState.HOLDING
    assert loop.distance == pytest.approx(1.0, abs=0.1)


def test_a_sentence_that_is_true_of_nothing_moves_nothing() -> None:
    loop = standing()
    loop.change = lambda time, observation: Observation(observation.stamp, 0, TargetState.SEARCHING)
    loop.run(10.0)
    assert not moved(loop.decisions)
    assert loop.decision.state is FollowState.LOOKING
    assert "No object is picked" in loop.decision.reason


def test_an_object_that_is_hardly_meant_is_not_bound_and_its_score_is_told() -> None:
    loop = standing()
    loop.change = lambda time, observation: replace(observation, score=0.5)
    loop.run(4.0)
    assert not moved(loop.decisions) and loop.decision.track_id == 0
    assert "score of 0.50; 0.6 are asked for" in loop.decision.reason


def test_glimpses_of_changing_objects_bind_nothing() -> None:
    loop = standing()
    loop.change = lambda time, observation: replace(observation, track_id=1 + int(time / 0.4))
    loop.run(6.0)
    assert not moved(loop.decisions) and loop.decision.track_id == 0
