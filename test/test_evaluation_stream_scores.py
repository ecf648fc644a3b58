# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of single answers and of a stream of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import pytest

from referdino_core.errors import ImageError
from referdino_core.evaluation.stream_scores import (
    FrameScore,
    StreamScorer,
    failure_of,
    overall_scores,
    score_frame,
)
from referdino_core.evaluation.truth import FrameTruth

SIZE = (40, 60)
RIGHT = FrameScore(True, 0.9, 0.8, 1.0, None)
POOR = FrameScore(True, 0.4, 0.2, 6.0, None)
WRONG = FrameScore(True, 0.0, 0.0, 20.0, 2)
UNANSWERED = FrameScore(True, 0.0, 0.0, None, None)
ABSENT = FrameScore(False, None, None, None, None)


@dataclass(frozen=True, eq=False)
class Answer:
    mask: np.ndarray
    box: tuple[float, float, float, float] | None


def block(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def answer(left: int, top: int, right: int, bottom: int) -> Answer:
    return Answer(block(left, top, right, bottom), (left, top, right, bottom))


NOTHING = Answer(np.zeros(SIZE, bool), None)
TRUTH = FrameTruth({1: block(0, 0, 10, 10), 2: block(30, 0, 40, 10), 3: block(0, 0, 0, 0)}, SIZE)


def test_a_right_answer_is_scored_by_overlap_boundary_and_centre() -> None:
    score = score_frame(answer(4, 0, 14, 10), TRUTH, [1])
    assert score.present and score.overlap_with_other is None
    assert score.region == pytest.approx(60 / 140)
    assert score.boundary is not None and 0 < score.boundary < 1
    assert score.centre_error == pytest.approx(4)
    assert failure_of(score, seen=True) == "poor mask"


def test_the_object_that_was_picked_instead_is_named() -> None:
    score = score_frame(answer(30, 0, 40, 10), TRUTH, [1])
    assert (score.region, score.overlap_with_other) == (0, 2)
    assert failure_of(score, seen=True) == "wrong object"


def test_background_is_no_other_object() -> None:
    assert score_frame(answer(0, 20, 60, 40), TRUTH, [1]).overlap_with_other is None


def test_an_object_around_the_target_does_not_take_its_mask() -> None:
    inside = FrameTruth({1: block(0, 0, 10, 10), 2: block(0, 0, 30, 30)}, SIZE)
    assert score_frame(answer(0, 0, 10, 10), inside, [1]).overlap_with_other is None


def test_several_objects_may_be_meant_together() -> None:
    both = Answer(TRUTH.of([1, 2]), (0, 0, 40, 10))
    score = score_frame(both, TRUTH, [1, 2])
    assert (score.region, score.boundary, score.centre_error) == (1, 1, 0)


def test_nothing_answered_has_no_centre_and_no_overlap() -> None:
    score = score_frame(NOTHING, TRUTH, [1])
    assert (score.region, score.boundary, score.centre_error) == (0, 0, None)
    assert failure_of(score, seen=False) == "missed"


@pytest.mark.parametrize(("pixels", "present"), [(14, False), (15, True)])
def test_a_target_of_fewer_than_fifteen_pixels_is_absent(pixels: int, present: bool) -> None:
    truth = FrameTruth({1: block(0, 0, pixels, 1)}, SIZE)
    assert score_frame(answer(0, 0, 9, 9), truth, [1]).present is present


def test_void_pixels_make_a_target_absent_and_are_not_judged() -> None:
    hidden = FrameTruth(TRUTH.masks, SIZE, void=block(0, 0, 10, 9))
    score = score_frame(answer(0, 0, 10, 10), hidden, [1])
    assert not score.present and score.region is None
    assert failure_of(score, seen=True) == "false alarm"
    assert failure_of(score, seen=False) is None
    half = FrameTruth(TRUTH.masks, SIZE, void=block(0, 5, 60, 40))
    assert score_frame(answer(0, 0, 10, 30), half, [1]).region == 1


def test_a_mask_where_nothing_is_judged_is_no_alarm() -> None:
    right_half = FrameTruth({1: block(0, 0, 0, 0)}, SIZE, void=block(0, 0, 30, 40))
    unjudged = score_frame(answer(0, 0, 10, 10), right_half, [1])
    assert unjudged is not None and failure_of(unjudged, seen=True) is None
    alarm = score_frame(answer(40, 0, 50, 10), right_half, [1])
    assert alarm is not None and failure_of(alarm, seen=True) == "false alarm"
    nothing_judged = FrameTruth(TRUTH.masks, SIZE, void=np.ones(SIZE, bool))
    assert score_frame(answer(0, 0, 10, 10), nothing_judged, [1]) is None


def test_a_sentence_true_of_nothing_has_an_absent_target() -> None:
    score = score_frame(answer(30, 0, 40, 10), TRUTH, [])
    assert not score.present and score.overlap_with_other == 2


def test_truth_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError):
        score_frame(Answer(np.zeros((4, 4), bool), None), TRUTH, [1])


def test_a_stream_is_summed_up() -> None:
    scorer = StreamScorer("a", "the red box", since=10.0)
    scorer.add(10.0, "searching", 0, UNANSWERED, seen=False)
    scorer.add(10.1, "tracking", 1, WRONG, seen=True)
    scorer.add(10.2, "tracking", 2, POOR, seen=True)
    scorer.add(10.3, "occluded", 2, ABSENT, seen=False)
    scorer.add(10.4, "tracking", 2, ABSENT, seen=True)
    scorer.add(10.5, "tracking", 2, RIGHT, seen=True)
    scorer.drop()
    scorer.add(10.6, "tracking", 2, RIGHT, seen=True)
    scorer.add(10.7, "tracking", 3, None, seen=True)
    found = scorer.result()
    assert (found.frames, found.frames_with_truth, found.frames_dropped) == (8, 7, 1)
    assert found.region is not None and found.boundary is not None
    assert found.region.mean == pytest.approx((0 + 0 + 0.4 + 0.9 + 0.9) / 5)
    assert found.region.recall == pytest.approx(2 / 5)
    assert found.boundary.mean == pytest.approx((0.2 + 0.8 + 0.8) / 5)
    assert found.region_and_boundary == pytest.approx((0.44 + 0.36) / 2)
    assert found.right is False
    assert found.time_to_acquire == pytest.approx(0.5)
    assert found.identity_switches == 2
    assert (found.frames_lost, found.frames_absent, found.false_alarms) == (1, 2, 1)
    assert found.centre_error == pytest.approx(np.median([20, 6, 1, 1]))
    assert found.failures == {"missed": 1, "wrong object": 1, "poor mask": 1, "false alarm": 1}
    assert found.states == {"occluded": 1, "searching": 1, "tracking": 6}
    assert json.loads(json.dumps(asdict(found)))["region"]["mean"] == found.region.mean


def test_a_track_that_comes_back_after_occlusion_is_no_switch() -> None:
    scorer = StreamScorer("a", "the red box", since=0.0)
    for stamp, track, seen in ((0, 4, True), (1, 4, False), (2, 0, False), (3, 4, True)):
        scorer.add(float(stamp), "tracking", track, None, seen)
    assert scorer.result().identity_switches == 0


def test_without_truth_nothing_is_claimed() -> None:
    scorer = StreamScorer("a", "the red box", since=0.0)
    scorer.add(0.0, "tracking", 1, None, seen=True)
    found = scorer.result()
    assert (found.region, found.boundary, found.right, found.time_to_acquire) == (None,) * 4
    assert found.frames_with_truth == 0


def test_commands_are_put_together() -> None:
    good, bad, absent = (StreamScorer(name, name, since=0.0) for name in ("a", "b", "c"))
    good.add(1.0, "tracking", 1, RIGHT, seen=True)
    bad.add(1.0, "searching", 0, UNANSWERED, seen=False)
    absent.add(1.0, "tracking", 5, ABSENT, seen=True)
    found = overall_scores([scorer.result() for scorer in (good, bad, absent)])
    assert (found.region, found.boundary) == pytest.approx((0.45, 0.4))
    assert (found.right, found.time_to_acquire) == (0.5, 1.0)
    assert (found.frames_lost, found.frames_absent, found.false_alarms) == (1, 1, 1)
    nothing = overall_scores([])
    assert nothing.region is None and nothing.right is None and nothing.false_alarms == 0
