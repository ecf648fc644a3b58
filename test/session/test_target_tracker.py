# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From slot scores to targets: taking up, giving up, coming back, switching, and identities."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from slot_scene import (
    LEFT,
    LOOKS,
    LOST,
    OCCLUDED,
    RIGHT,
    SEARCHING,
    SETTINGS,
    TOP,
    TRACKING,
    Scene,
)

from referdino_core.configuration import SessionSettings
from referdino_core.session.target_tracker import (
    AllTargetsTracker,
    SingleTargetTracker,
    TargetTracker,
)
from referdino_core.target import TargetState

# ---- Taking up and giving up -----------------------------------------------------------------


def test_a_search_goes_on_until_a_slot_is_good_enough() -> None:
    scene = Scene()
    searching = scene.look(0.5, 0.55)
    assert (searching.state, searching.track_id, searching.slot) == (SEARCHING, 0, 1)
    scene.look(0.5, 0.65)
    found = scene.look(0.5, 0.65)
    assert (found.state, found.track_id, found.slot) == (TRACKING, 1, 1)


def test_one_sure_image_among_weak_ones_takes_up_nothing() -> None:
    scene = Scene(settings=replace(SETTINGS, take_up=0.25, take_up_share=0.6))
    scores = (0.1, 0.1, 0.9, 0.1, 0.1, 0.9, 0.9)
    states = [scene.look(score).state for score in scores]
    assert states == [SEARCHING] * 6 + [TRACKING]


def test_the_first_image_of_a_command_is_all_the_evidence_there_is() -> None:
    assert Scene().look(0.9).state is TRACKING


def test_a_target_is_kept_below_the_score_that_took_it_up() -> None:
    scene = Scene()
    scene.look(0.7)
    assert scene.look(0.45).state is TRACKING


def test_giving_up_takes_more_than_one_weak_image() -> None:
    scene = Scene()
    scene.look(0.7, images=7)
    weak = scene.look(0.1)
    assert (weak.state, weak.is_seen) == (TRACKING, True)
    assert scene.look(0.7).state is TRACKING
    assert scene.look(0.1).state is TRACKING
    given_up = scene.look(0.1)
    assert (given_up.state, given_up.is_seen) == (OCCLUDED, False)


def test_coming_back_takes_a_score_that_would_take_up_in_more_than_one_image() -> None:
    scene = Scene()
    scene.look(0.7, images=7)
    scene.look(0.1, images=2)
    assert scene.look(0.5).state is OCCLUDED, "above keep, below accept"
    assert scene.look(0.7).state is OCCLUDED, "one image alone"
    back = scene.look(0.7)
    assert (back.state, back.track_id) == (TRACKING, 1)


def test_an_unseen_target_is_held_then_lost() -> None:
    scene = Scene()
    scene.look(0.7, images=7)
    states = [scene.look(0.1).state for _ in range(7)]
    assert states == [TRACKING] + [OCCLUDED] * 3 + [LOST] * 3
    assert scene.look(0.1).track_id == 1


def test_a_pick_that_was_followed_only_briefly_is_not_held() -> None:
    scene = Scene()
    scene.look(0.7, images=3)
    other = LOOKS.copy()
    other[0] = LOOKS[2]
    corrected = scene.look(0.9, looks=other)
    assert (corrected.state, corrected.track_id) == (TRACKING, 2)


def test_images_far_apart_do_not_lose_a_target_by_one_weak_score() -> None:
    scene = Scene(interval=5.6)
    scene.look(0.7, images=2)
    assert scene.look(0.1).state is TRACKING
    assert scene.look(0.7).track_id == 1


# ---- Identity --------------------------------------------------------------------------------


def test_a_slot_that_comes_to_look_like_something_else_loses_the_target_at_once() -> None:
    scene = Scene()
    scene.look(0.9, images=7)
    other = LOOKS.copy()
    other[0] = LOOKS[2]
    lent = scene.look(0.9, looks=other)
    assert (lent.state, lent.is_seen, lent.track_id) == (OCCLUDED, False, 1)


def test_a_slot_that_jumps_or_grows_at_once_holds_something_else() -> None:
    for elsewhere in ((0.6, 0.4, 0.8, 0.6), (0.0, 0.1, 0.4, 0.9)):
        scene = Scene()
        scene.look(0.9, images=7)
        assert scene.look(0.9, places=(elsewhere, RIGHT, TOP)).state is OCCLUDED


def test_a_target_may_have_moved_farther_the_longer_it_was_hidden() -> None:
    moved = ((0.4, 0.4, 0.6, 0.6), RIGHT, TOP)
    states = []
    for hidden in (2, 6):
        scene = Scene(settings=replace(SETTINGS, place_growth=0.4, hold=9.0))
        scene.look(0.9, images=7)
        scene.look(0.0, images=hidden)
        states.append(scene.look(0.9, places=moved, images=2).state)
    assert states == [OCCLUDED, TRACKING]


def test_a_moving_target_is_expected_where_it_is_going() -> None:
    scene = Scene(settings=replace(SETTINGS, same_place=0.06, place_growth=0.0, hold=9.0))
    for step in range(7):
        at = 0.1 + 0.04 * step
        scene.look(0.9, places=((at, 0.4, at + 0.2, 0.6), RIGHT, TOP))
    gone = scene.look(0.0, images=3, places=((0.8, 0.8, 0.9, 0.9), RIGHT, TOP))
    assert gone.state is OCCLUDED
    ahead = ((0.52, 0.4, 0.72, 0.6), RIGHT, TOP)
    assert scene.look(0.9, places=ahead, images=2).state is TRACKING


def test_a_target_that_returns_after_its_loss_has_its_own_id_again() -> None:
    scene = Scene()
    scene.look(0.7, images=2)
    assert scene.look(0.1, images=8).state is LOST
    back = scene.look(0.9, images=2)
    assert (back.state, back.track_id) == (TRACKING, 1)


def test_another_object_after_a_loss_has_a_new_id() -> None:
    scene = Scene()
    scene.look(0.7, images=2)
    scene.look(0.1, images=8)
    other = scene.look(0.0, 0.9, images=2)
    assert (other.state, other.track_id) == (TRACKING, 2)
    scene.look(0.0, 0.0, images=8)
    assert scene.look(0.9, 0.0, images=2).track_id == 1, "the first object's id is remembered"


def test_a_target_that_moves_to_another_slot_is_followed_there_without_a_gap() -> None:
    scene = Scene()
    scene.look(0.9, images=3)
    swapped = scene.look(0.0, 0.9, places=(RIGHT, LEFT, TOP), looks=LOOKS[[1, 0, 2]])
    assert (swapped.slot, swapped.state, swapped.track_id) == (1, TRACKING, 1)


def test_another_object_takes_over_only_by_the_margin_and_after_a_rest() -> None:
    scene = Scene()
    scene.look(0.7, 0.0)
    slots = [scene.look(0.5, 0.9).slot for _ in range(3)]
    assert slots == [0, 1, 1]
    assert scene.look(0.85, 0.7).slot == 1
    assert scene.look(0.85, 0.7, images=3).slot == 1, "0.15 better is less than the margin"
    assert scene.look(0.95, 0.7).track_id == 1, "back to the first object, under its id"


def test_two_slots_of_one_object_share_its_identity() -> None:
    together = (LEFT, (0.11, 0.4, 0.31, 0.6), TOP)
    scene = Scene()
    scene.look(0.7, 0.0, places=together)
    choice = scene.look(0.5, 0.9, places=together, images=3)
    assert (choice.slot, choice.track_id) == (1, 1)


def test_the_appearance_follows_a_target_that_changes_slowly() -> None:
    scene = Scene()
    for step in range(30):
        angle = step * np.pi / 60
        looks = LOOKS.copy()
        looks[0] = np.cos(angle) * LOOKS[0] + np.sin(angle) * np.eye(4)[3]
        choice = scene.look(0.9, looks=looks)
        assert (choice.state, choice.track_id) == (TRACKING, 1)


@pytest.mark.parametrize("rate", [2.0, 10.0, 30.0])
def test_decisions_do_not_depend_on_the_frame_rate(rate: float) -> None:
    """Seen from 0 s, hidden from 4 s to 6 s and from 8 s on; lost 3 s after."""
    settings = SessionSettings()
    scene = Scene(settings=settings, interval=1 / rate)
    changes: list[tuple[TargetState, float]] = []
    for number in range(int(14 * rate)):
        stamp = number / rate
        hidden = 4 <= stamp < 6 or stamp >= 8
        choice = scene.look(0.05 if hidden else 0.9)
        assert choice.track_id == 1
        if not changes or changes[-1][0] is not choice.state:
            changes.append((choice.state, stamp))
    expected = ((TRACKING, 0.0), (OCCLUDED, 4.15), (TRACKING, 6.15), (OCCLUDED, 8.15), (LOST, 11.1))
    assert [state for state, _ in changes] == [state for state, _ in expected]
    for (_, found), (_, wanted) in zip(changes, expected, strict=True):
        assert found == pytest.approx(wanted, abs=1 / rate + 0.11)


# ---- Every object that fits --------------------------------------------------------------------


def test_all_objects_that_fit_are_followed_under_ids_of_their_own() -> None:
    scene = Scene(AllTargetsTracker)
    assert scene.show(0.1, 0.2, 0.0) == ()
    choices = scene.show(0.9, 0.1, 0.8, images=2)
    assert [(one.slot, one.track_id, one.state) for one in choices] == [
        (0, 1, TRACKING),
        (2, 2, TRACKING),
    ]
    assert [one.track_id for one in scene.show(0.9, 0.9, 0.8, images=2)] == [1, 2, 3]


def test_one_of_several_objects_is_lost_and_comes_back_alone() -> None:
    scene = Scene(AllTargetsTracker)
    scene.show(0.9, 0.9, images=7)
    half = scene.show(0.9, 0.0, images=2)
    assert [(one.track_id, one.state) for one in half] == [(1, TRACKING), (2, OCCLUDED)]
    assert [one.track_id for one in scene.show(0.9, 0.0, images=8)] == [1]
    assert [one.track_id for one in scene.show(0.9, 0.9, images=2)] == [1, 2]


@pytest.mark.parametrize("glitches", [1, 2])
def test_bad_images_of_one_of_several_objects_give_it_no_new_id(glitches: int) -> None:
    scene = Scene(AllTargetsTracker, SessionSettings())
    scene.show(0.9, 0.9, images=8)
    other = LOOKS.copy()
    other[1] = LOOKS[2]
    for _ in range(glitches):
        choices = scene.show(0.9, 0.9, looks=other)
        assert [(one.track_id, one.is_seen) for one in choices] == [(1, True), (2, False)]
    choices = scene.show(0.9, 0.9, images=3)
    assert [(one.track_id, one.state) for one in choices] == [(1, TRACKING), (2, TRACKING)]


def test_a_slot_that_holds_another_object_for_good_gets_a_new_id() -> None:
    scene = Scene(AllTargetsTracker, SessionSettings())
    scene.show(0.9, 0.9, images=8)
    other = LOOKS.copy()
    other[1] = LOOKS[2]
    choices = scene.show(0.9, 0.9, looks=other, images=8)
    assert [(one.track_id, one.state) for one in choices] == [
        (1, TRACKING),
        (2, OCCLUDED),
        (3, TRACKING),
    ]


def test_thresholds_may_be_numpy_s_numbers() -> None:
    settings = replace(SETTINGS, keep=np.float64(0.4), accept=np.float64(0.6))
    scene = Scene(settings=settings)
    scene.look(0.7, images=7)
    assert scene.look(0.05, images=8).state is LOST


def test_a_camera_whose_stamps_stand_still_can_lose_a_target() -> None:
    scene = Scene(interval=0.0)
    scene.look(0.9, images=100)
    scene.look(0.0, images=100)
    assert not scene.tracker.tracks[-1].is_seen
    assert len(scene.tracker.tracks[-1].evidence.images) <= 64


def test_an_object_that_comes_nearer_keeps_its_id_at_every_rate() -> None:
    for rate in (2.0, 10.0, 30.0):
        scene = Scene(settings=SessionSettings(), interval=1 / rate)
        for number in range(int(2 * rate)):
            half = 0.02 * np.exp(0.7 * number / rate)
            place = (0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half)
            choice = scene.look(0.9, places=(place, RIGHT, TOP))
        assert (choice.track_id, choice.state) == (1, TRACKING), rate


def test_two_slots_of_one_object_are_one_target() -> None:
    together = (LEFT, (0.11, 0.4, 0.31, 0.6), TOP)
    choices = Scene(AllTargetsTracker).show(0.9, 0.85, 0.0, places=together, images=3)
    assert [one.slot for one in choices] == [0]


def test_lost_tracks_are_bounded() -> None:
    scene = Scene(AllTargetsTracker)
    generator = np.random.default_rng(0)
    for _ in range(30):
        looks = generator.normal(size=(3, 4)).astype(np.float32)
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        scene.show(0.9, looks=looks, images=2)
        scene.show(0.0, looks=looks, images=8)
    assert len(scene.tracker.tracks) <= 8


@pytest.mark.parametrize("kind", [SingleTargetTracker, AllTargetsTracker])
def test_a_snapshot_goes_on_exactly(kind: type[TargetTracker]) -> None:
    generator = np.random.default_rng(1)
    first, second = Scene(kind), Scene(kind)
    for number in range(60):
        if number == 30:
            second.tracker.restore(first.tracker.snapshot())
            second.tracker.new_track_id = first.tracker.new_track_id
            second.stamp, second.scores = first.stamp, list(first.scores)
        scores = generator.choice([0.0, 0.5, 0.9], 3)
        choices = first.show(*scores)
        if number >= 30:
            first.tracker.new_track_id = itertools.count(100 + number).__next__
            second.tracker.new_track_id = itertools.count(100 + number).__next__
            again = second.show(*scores)
            found = [
                [(c.slot, c.track_id, c.state, c.score, c.is_seen) for c in one]
                for one in (choices, again)
            ]
            assert found[0] == found[1]
