# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Identities of tracks while the camera moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from slot_scene import TRACKING, Scene

from referdino_core.session.track import Objects, camera_shift

ROW = np.array([[0.1, 0.4, 0.2, 0.5], [0.4, 0.4, 0.5, 0.5], [0.7, 0.4, 0.8, 0.5]])


def across(shift: float) -> list[tuple[float, float, float, float]]:
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
    queries = np.eye(4, dtype=np.float32)
    before = Objects(queries, np.zeros((4, 2)), np.zeros(4))
    now = replace(before, centres=np.full((4, 2), 0.2))
    assert camera_shift(before, now, 0.9) == pytest.approx([0.2, 0.2])
    turned = replace(now, queries=queries[[1, 0, 2, 3]])
    assert camera_shift(before, turned, 0.9) == pytest.approx([0.0, 0.0])


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
