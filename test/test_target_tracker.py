# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From slot scores to states: acceptance, holding, losing and switching."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from referdino_core.configuration import SessionSettings
from referdino_core.errors import ReferDINOError
from referdino_core.session.target import TargetState
from referdino_core.session.target_tracker import SlotChoice, TargetTracker

SETTINGS = SessionSettings(accept=0.6, keep=0.4, hold_frames=3, switch_margin=0.2, switch_frames=2)
APART = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], dtype=float)
TOGETHER = np.array([[0, 0, 10, 10], [1, 1, 10, 10]], dtype=float)


def tracker() -> TargetTracker:
    numbers = itertools.count(1)
    return TargetTracker(lambda: next(numbers))


def update(
    followed: TargetTracker, *scores: float, boxes: np.ndarray = APART, frames: int = 1
) -> SlotChoice:
    return followed.update(np.array([scores] * frames), boxes, SETTINGS)


def test_a_search_goes_on_until_a_slot_is_good_enough() -> None:
    followed = tracker()
    searching = update(followed, 0.5, 0.55)
    assert (searching.state, searching.track_id, searching.slot) == (TargetState.SEARCHING, 0, 1)
    found = update(followed, 0.5, 0.65)
    assert (found.state, found.track_id, found.slot) == (TargetState.TRACKING, 1, 1)


def test_a_good_average_with_a_poor_newest_frame_is_not_taken_up() -> None:
    followed = tracker()
    faded = followed.update(np.array([[0.95, 0], [0.9, 0], [0.1, 0]]), APART, SETTINGS)
    assert faded.state is TargetState.SEARCHING


def test_a_target_is_kept_below_the_score_that_took_it_up() -> None:
    followed = tracker()
    update(followed, 0.7, 0.0)
    assert update(followed, 0.45, 0.0).state is TargetState.TRACKING
    assert update(followed, 0.35, 0.0).state is TargetState.OCCLUDED


def test_an_unseen_target_is_held_then_lost_then_found_under_a_new_identity() -> None:
    followed = tracker()
    update(followed, 0.7, 0.0)
    states = [update(followed, 0.1, 0.0).state for _ in range(4)]
    assert states == [TargetState.OCCLUDED] * 3 + [TargetState.LOST]
    lost = update(followed, 0.1, 0.0)
    assert (lost.state, lost.track_id) == (TargetState.LOST, 1)
    found = update(followed, 0.0, 0.9)
    assert (found.state, found.track_id) == (TargetState.TRACKING, 2)


def test_a_target_that_returns_in_time_keeps_its_identity() -> None:
    followed = tracker()
    update(followed, 0.7, 0.0)
    update(followed, 0.1, 0.0)
    back = update(followed, 0.7, 0.0)
    assert (back.state, back.track_id) == (TargetState.TRACKING, 1)


def test_another_slot_takes_over_only_by_the_margin_and_after_a_rest() -> None:
    followed = tracker()
    update(followed, 0.7, 0.0)
    assert [update(followed, 0.5, 0.9).slot for _ in range(3)] == [0, 0, 1]
    assert update(followed, 0.85, 0.7).slot == 1
    assert update(followed, 0.85, 0.7).slot == 1
    assert update(followed, 0.85, 0.7).slot == 1, "0.15 better is less than the margin"


def test_identity_follows_the_object_not_the_slot() -> None:
    followed = tracker()
    update(followed, 0.7, 0.0, boxes=TOGETHER)
    for _ in range(3):
        choice = update(followed, 0.5, 0.9, boxes=TOGETHER)
    assert (choice.slot, choice.track_id) == (1, 1)
    for _ in range(3):
        choice = update(followed, 0.9, 0.5, boxes=APART)
    assert (choice.slot, choice.track_id) == (0, 2)


@pytest.mark.parametrize(
    "values",
    [{"accept": 1.5}, {"keep": 0.9, "accept": 0.5}, {"window": 0}, {"hold_frames": -1}],
)
def test_settings_out_of_range_are_named(values: dict[str, float]) -> None:
    with pytest.raises(ReferDINOError, match=next(iter(values))):
        SessionSettings(**values)  # type: ignore[arg-type]
