# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stamps that jitter, jump and pause: what is dropped, what resets, and what goes on."""

from __future__ import annotations

import numpy as np
import pytest
from session_samples import session_that_tracks, small_model, steady_images

import referdino_core as rd
from referdino_core.configuration import SessionSettings
from referdino_core.session.camera_stream import StreamClock

SETTINGS = SessionSettings()
IMAGES = steady_images(4)


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    return small_model()


@pytest.fixture
def session(model: rd.ReferDINO) -> rd.Session:
    opened = session_that_tracks(model)
    opened.command("the red ball")
    return opened


def test_every_second_image_stamped_before_its_predecessor_keeps_the_target(
    session: rd.Session,
) -> None:
    ids, judgements = set(), []
    for number in range(30):
        stamp = 0.1 * number if number % 2 == 0 else 0.1 * (number - 1) - 0.001
        (target,) = session.step(IMAGES[0], stamp)
        ids.add(target.track_id)
        judgements.append(target.judgement)
    assert (session.reset_count, ids, session.late_count) == (0, {1}, 15)
    assert judgements == [rd.Judgement.JUDGED, rd.Judgement.LATE] * 15


def test_a_late_image_keeps_the_state_and_shows_no_target(session: rd.Session) -> None:
    (before,) = session.step(IMAGES[0], 1.0)
    (late,) = session.step(IMAGES[1], 0.9)
    assert late.mask.shape == before.mask.shape and not late.mask.any()
    assert late.box is None and late.predicted_box is None
    assert (late.track_id, late.state, late.score) == (
        before.track_id,
        before.state,
        before.score,
    )
    assert session.stamp == 1.0
    assert len(session.running["command"].memory.window) == 1


def test_a_late_first_image_of_a_command_is_a_search(session: rd.Session) -> None:
    session.step(IMAGES[0], 1.0)
    session.command("the box")
    (target,) = session.step(IMAGES[1], 0.9)
    assert (target.state, target.track_id) == (rd.TargetState.SEARCHING, 0)


def test_a_jump_back_resets_and_the_next_result_reports_it(session: rd.Session) -> None:
    session.step(IMAGES[0], 10.0)
    (target,) = session.step(IMAGES[1], 9.4)
    assert (session.reset_count, target.track_id) == (1, 2)
    assert target.judgement is session.judgement is rd.Judgement.RESET
    assert session.last_reset == "stamps jumped back by 0.60 s"
    (after,) = session.step(IMAGES[2], 9.5)
    assert after.judgement is rd.Judgement.JUDGED


def test_a_slow_model_before_a_steady_camera_is_no_gap(session: rd.Session) -> None:
    """Answers 5.6 s apart, the camera at 10 Hz."""
    ids = set()
    for answer in range(6):
        first = 5.6 * answer
        if answer:
            for number in range(1, 56):
                session.skip(first - 5.6 + 0.1 * number)
        (target,) = session.step(IMAGES[0], first)
        ids.add(target.track_id)
    assert (session.reset_count, ids) == (0, {1})


def test_a_camera_that_paused_among_the_dropped_images_is_a_gap(session: rd.Session) -> None:
    session.step(IMAGES[0], 0.0)
    session.skip(0.1)
    session.skip(6.1)
    (target,) = session.step(IMAGES[1], 6.2)
    assert session.last_reset == "there was a gap of 6.00 s between images"
    assert target.judgement is rd.Judgement.RESET


def test_a_clock_that_jumped_back_among_the_dropped_images_resets(session: rd.Session) -> None:
    session.step(IMAGES[0], 100.0)
    session.skip(100.1)
    session.skip(5.0)
    session.step(IMAGES[1], 5.1)
    assert (session.reset_count, session.stamp) == (1, 5.1)


def test_after_a_jump_among_the_dropped_images_no_image_is_late(session: rd.Session) -> None:
    session.step(IMAGES[0], 10.4)
    session.skip(9.8)
    judgements = [session.step(IMAGES[0], 9.9 + 0.1 * n)[0].judgement for n in range(3)]
    assert judgements == [rd.Judgement.RESET, rd.Judgement.JUDGED, rd.Judgement.JUDGED]


@pytest.mark.parametrize("stamp", ["12", 10**400, float("nan"), np.array([1.0]), 1e39])
def test_a_stamp_that_is_no_time_is_one_error(session: rd.Session, stamp: object) -> None:
    session.step(IMAGES[0], 1.0)
    with pytest.raises(rd.ImageError, match="is not a valid time"):
        session.step(IMAGES[1], stamp)  # type: ignore[arg-type]
    (target,) = session.step(IMAGES[0], np.float64(1.1))
    assert target.track_id == 1


def test_another_size_after_a_gap_is_one_reset(session: rd.Session) -> None:
    session.step(IMAGES[0], 1.0)
    session.step(np.repeat(IMAGES[0], 2, axis=0), 9.0)
    assert session.reset_count == 1
    assert session.last_reset is not None
    assert "image size changed" in session.last_reset and "gap of 8.00 s" in session.last_reset


def test_dropped_images_may_be_newer_than_the_processed_one(session: rd.Session) -> None:
    session.step(IMAGES[0], 1.0)
    session.skip(1.3)
    (target,) = session.step(IMAGES[1], 1.2)
    assert (session.reset_count, session.late_count, target.judgement) == (
        0,
        0,
        rd.Judgement.JUDGED,
    )


def test_images_with_equal_stamps_are_processed(session: rd.Session) -> None:
    session.step(IMAGES[0], 1.0)
    (target,) = session.step(IMAGES[1], 1.0)
    assert (target.judgement, target.track_id) == (rd.Judgement.JUDGED, 1)
    assert np.isfinite(target.score)


@pytest.mark.parametrize(
    ("lateness", "max_lateness", "late"),
    [(0.001, 0.5, True), (0.49, 0.5, True), (0.5, 0.5, False), (0.001, 0.0, False)],
)
def test_how_late_is_late_is_a_setting(lateness: float, max_lateness: float, late: bool) -> None:
    settings = SessionSettings(max_lateness=max_lateness)
    clock = StreamClock()
    assert clock.note(1.0, settings) is None
    clock.judged = 1.0
    assert clock.is_late(1.0 - lateness, settings) is late
    if not late:
        reason = clock.note(1.0 - lateness, settings)
        assert reason is not None and "jumped back" in reason


def test_no_gap_resets_where_max_gap_is_zero() -> None:
    clock = StreamClock()
    settings = SessionSettings(max_gap=0.0)
    assert [clock.note(stamp, settings) for stamp in (0.0, 1e4, 1e9)] == [None] * 3
