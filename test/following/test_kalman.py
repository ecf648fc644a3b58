# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The constant-velocity filter against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from referdino_core.following.kalman import (
    GATE,
    FilterSettings,
    begin_track,
    predict,
    update,
)

SETTINGS = FilterSettings(acceleration=0.5, first_speed=0.4, max_speed=2.0)
NOISE = 0.01 * np.eye(2)


def test_the_prediction_is_the_closed_form_of_white_acceleration() -> None:
    track = predict(begin_track(1.0, np.array([1.0, 2.0]), NOISE, SETTINGS), 3.0, SETTINGS)
    assert_allclose(track.position, [1.0, 2.0])
    # 0.01 + 4 * 0.16 + 0.25 * 16 / 4; 2 * 0.16 + 0.25 * 8 / 2; 0.16 + 0.25 * 4
    assert_allclose(np.diag(track.covariance), [1.65, 1.65, 1.16, 1.16])
    assert_allclose(track.covariance[0, 2], 1.32)


def test_an_update_at_the_same_stamp_averages_by_the_variances() -> None:
    track = begin_track(1.0, np.array([0.0, 0.0]), 0.03 * np.eye(2), SETTINGS)
    done = update(track, 1.0, np.array([0.4, 0.0]), 0.01 * np.eye(2), SETTINGS)
    assert done.accepted and done.distance == pytest.approx(0.16 / 0.04)
    assert_allclose(done.track.position, [0.3, 0.0])
    assert_allclose(np.diag(done.track.covariance)[:2], 0.0075)


def test_steady_motion_is_found_and_predicted() -> None:
    track = begin_track(0.0, np.zeros(2), NOISE, SETTINGS)
    for tick in range(1, 60):
        place = np.array([0.2, -0.1]) * tick / 10
        track = update(track, tick / 10, place, NOISE, SETTINGS).track
    assert_allclose(track.velocity, [0.2, -0.1], atol=0.01)
    assert_allclose(predict(track, 6.9, SETTINGS).position, [1.38, -0.69], atol=0.02)


def test_the_gate_refuses_and_leaves_the_track_alone() -> None:
    track = begin_track(0.0, np.zeros(2), NOISE, SETTINGS)
    edge = np.sqrt(GATE * 0.02)
    assert update(track, 0.0, np.array([0.99 * edge, 0.0]), NOISE, SETTINGS).accepted
    refused = update(track, 0.0, np.array([1.01 * edge, 0.0]), NOISE, SETTINGS)
    assert not refused.accepted and refused.track is track
    later = update(track, 2.0, np.array([1.01 * edge, 0.0]), NOISE, SETTINGS)
    assert later.accepted  # by then it may have got there


def test_a_speed_that_no_target_has_is_cut_down() -> None:
    track = begin_track(0.0, np.zeros(2), np.eye(2), SETTINGS)
    fast = update(track, 0.1, np.array([2.5, 0.0]), 1e-6 * np.eye(2), FilterSettings(max_speed=0.5))
    assert fast.accepted
    assert np.hypot(*fast.track.velocity) <= 0.5 + 1e-9


def test_the_past_is_not_predicted() -> None:
    track = begin_track(5.0, np.zeros(2), NOISE, SETTINGS)
    assert predict(track, 4.0, SETTINGS) is track
