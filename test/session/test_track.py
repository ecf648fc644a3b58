# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Identities of tracks while the camera moves, and objects come into view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from slot_scene import RIGHT, TOP, TRACKING, Scene

from referdino_core.session.slot_readings import Objects, SlotReadings, camera_shift
from referdino_core.target import Box

ROW = np.array([[0.1, 0.4, 0.2, 0.5], [0.4, 0.4, 0.5, 0.5], [0.7, 0.4, 0.8, 0.5]])


def objects_in(*boxes: Box) -> Objects:
    """Objects with such boxes, each with a look of its own."""
    count = len(boxes)
    looks = np.eye(count, dtype=np.float32)
    return Objects.of(SlotReadings(0.0, np.zeros((1, count)), np.zeros(1), np.array(boxes), looks))


def across(shift: float) -> list[Box]:
    """Boxes of the row when the camera has turned by so much of the image's width."""
    return [tuple(box) for box in ROW + np.array([shift, 0, shift, 0])]


def test_an_identity_survives_a_turn_that_would_leave_the_gate_of_place() -> None:
    scene = Scene()
    scene.look(0.9, 0.0, 0.0, places=across(0.0), images=7)
    # Unseen for four images, while the camera turns back and forth by more than `same_place`.
    for shift in (0.2, 0.35, 0.5, 0.3):
        scene.look(0.0, 0.0, 0.0, places=across(shift))
    again = scene.look(0.9, 0.0, 0.0, places=across(0.45), images=4)
    assert (again.track_id, again.state) == (1, TRACKING)


def test_a_shift_that_was_measured_wrongly_excludes_nothing() -> None:
    scene = Scene()
    scene.look(0.9, 0.0, 0.0, places=across(0.0), images=7)
    scene.look(0.0, 0.0, 0.0, places=across(0.0), images=2)
    scene.look(0.0, 0.0, 0.0, places=across(0.5))
    # The target is where it was; the others, and with them the measured shift, are not.
    places = [across(0.0)[0], *across(0.5)[1:]]
    again = scene.look(0.9, 0.0, 0.0, places=places, images=4)
    assert (again.track_id, again.state) == (1, TRACKING)


def test_an_object_that_alone_jumps_is_another_one() -> None:
    scene = Scene()
    scene.look(0.9, 0.0, 0.0, places=across(0.0), images=7)
    jumped = scene.look(0.9, 0.0, 0.0, places=[across(0.5)[0], *across(0.0)[1:]])
    assert not jumped.is_seen


def test_too_few_witnesses_are_no_motion_of_the_camera() -> None:
    before = objects_in(*[(0.1 + 0.2 * place, 0.1, 0.2 + 0.2 * place, 0.2) for place in range(4)])
    now = before.changed(np.full(2, 0.2))
    assert camera_shift(before, now, 0.1, 0.9) == pytest.approx([0.2, 0.2])
    turned = replace(now, queries=now.queries[[1, 0, 2, 3]])
    assert camera_shift(before, turned, 0.1, 0.9) == pytest.approx([0.0, 0.0])


def test_slots_that_jump_from_one_object_to_another_are_no_motion_of_the_camera() -> None:
    crowded = objects_in(*[(0.1, 0.1, 0.2, 0.2)] * 4)
    assert camera_shift(crowded, crowded.changed(np.full(2, 0.2)), 0.1, 0.9).tolist() == [0, 0]
    # As far as a camera turns within the time, one object may tell.
    turned = crowded.changed(np.array([0.1, 0.0]))
    assert camera_shift(crowded, turned, 0.1, 0.9) == pytest.approx([0.1, 0.0])


def test_an_id_is_not_lent_to_what_all_slots_turn_to_when_the_target_disappears() -> None:
    scene = Scene()
    looks = np.array([[1.0, 0.0, 0.0], [0.99, 0.14, 0.0], [0.99, 0.0, 0.14]], dtype=np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    target, other = (0.2, 0.4, 0.3, 0.5), (0.45, 0.4, 0.55, 0.5)
    followed = scene.look(0.9, 0.8, 0.8, places=[target] * 3, looks=looks, images=7)
    assert (followed.track_id, followed.state) == (1, TRACKING)
    for _ in range(4):
        instead = scene.look(0.9, 0.8, 0.8, places=[other] * 3, looks=looks)
        assert not (instead.is_seen and instead.track_id == 1)
    again = scene.look(0.9, 0.8, 0.8, places=[target] * 3, looks=looks, images=4)
    assert (again.track_id, again.state) == (1, TRACKING)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((0.0, 0.4, 0.05, 0.6), (0.0, 0.4, 0.12, 0.6)),
        ((0.95, 0.4, 1.0, 0.6), (0.85, 0.4, 1.0, 0.6)),
        ((0.4, 0.97, 0.6, 1.0), (0.4, 0.9, 0.6, 1.0)),
        ((0.0, 0.0, 0.03, 0.05), (0.02, 0.03, 0.12, 0.15)),
    ],
    ids=["left", "right", "bottom", "corner"],
)
def test_an_object_that_comes_into_view_keeps_its_identity(before: Box, now: Box) -> None:
    scene = Scene()
    assert scene.look(0.9, 0.0, 0.0, places=[before, RIGHT, TOP]).track_id == 1
    more = scene.look(0.9, 0.0, 0.0, places=[now, RIGHT, TOP])
    assert (more.track_id, more.state) == (1, TRACKING)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((0.0, 0.4, 0.05, 0.6), (0.0, 0.4, 0.4, 0.6)),  # its right edge has jumped
        ((0.0, 0.4, 0.05, 0.6), (0.0, 0.3, 0.05, 0.9)),  # three times as high
        ((0.0, 0.4, 0.05, 0.6), (0.95, 0.4, 1.0, 0.6)),  # at the other end of the image
        ((0.3, 0.4, 0.35, 0.6), (0.3, 0.4, 0.42, 0.6)),  # twice as wide, and in full view
    ],
    ids=["far edge", "height", "other border", "in view"],
)
def test_an_object_that_is_not_just_cut_off_is_another_one(before: Box, now: Box) -> None:
    scene = Scene()
    scene.look(0.9, 0.0, 0.0, places=[before, RIGHT, TOP], images=7)
    jumped = scene.look(0.9, 0.0, 0.0, places=[now, RIGHT, TOP])
    assert not jumped.is_seen


def test_changes_are_those_that_the_border_lets_one_see() -> None:
    whole = objects_in((0.2, 0.2, 0.4, 0.4))
    np.testing.assert_allclose(
        objects_in((0.3, 0.2, 0.5, 0.6)).changes(whole)[0, 0], [0.1, 0.1, np.log(2)], atol=1e-12
    )
    cut = objects_in((0.0, 0.2, 0.3, 0.4))  # at the left: its right edge has gone by -0.1
    np.testing.assert_allclose(cut.changes(whole)[0, 0], [-0.1, 0.0, 0.0], atol=1e-12)
    opposite = objects_in((0.5, 0.2, 1.0, 0.4))  # no edge in common: the centres are left
    np.testing.assert_allclose(opposite.changes(cut)[0, 0], [0.6, 0.0, 0.0], atol=1e-12)


def test_a_snapshot_keeps_how_far_the_scene_went_while_the_target_was_unseen() -> None:
    first, second = Scene(), Scene()
    first.look(0.9, 0.0, 0.0, places=across(0.0), images=7)
    for shift in (0.0, 0.0, 0.25):
        first.look(0.0, 0.0, 0.0, places=across(shift))
    second.tracker.restore(first.tracker.snapshot())
    second.stamp, second.scores = first.stamp, list(first.scores)
    for scene in (first, second):
        again = scene.look(0.9, 0.0, 0.0, places=across(0.5), images=2)
        assert (again.track_id, again.state) == (1, TRACKING)
