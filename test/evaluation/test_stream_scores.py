# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of single answers and of a stream of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest

from referdino_core.errors import ImageError
from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.evaluation.stream_scores import (
    CommandScores,
    FrameScore,
    StreamScorer,
    failure_of,
    overall_scores,
    score_frame,
    state_of,
)
from referdino_core.evaluation.tracking_measures import frame_tracks

SIZE = (40, 60)
RIGHT = FrameScore(True, 0.9, 0.8, 1.0, None)
POOR = FrameScore(True, 0.4, 0.2, 6.0, None)
WRONG = FrameScore(True, 0.0, 0.0, 20.0, 2)
UNANSWERED = FrameScore(True, 0.0, 0.0, None, None, answered=False)
ABSENT = FrameScore(False, None, None, None, None, answered=False)
ALARM = FrameScore(False, None, None, None, None)


@dataclass(frozen=True, eq=False)
class Answer:
    mask: np.ndarray
    box: tuple[float, float, float, float] | None
    track_id: int = 1


def block(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def answer(left: int, top: int, right: int, bottom: int, track_id: int = 1) -> Answer:
    return Answer(block(left, top, right, bottom), (left, top, right, bottom), track_id)


NOTHING = Answer(np.zeros(SIZE, bool), None)
TRUTH = FrameGroundTruth(
    {1: block(0, 0, 10, 10), 2: block(30, 0, 40, 10), 3: block(0, 0, 0, 0)}, SIZE
)


def test_a_correct_prediction_is_scored_by_overlap_boundary_and_centre() -> None:
    score = score_frame([answer(4, 0, 14, 10)], TRUTH, [1])
    assert score.present and score.overlap_with_other is None
    assert score.region == pytest.approx(60 / 140)
    assert score.boundary is not None and 0 < score.boundary < 1
    assert score.centre_error == pytest.approx(4)
    assert failure_of(score, seen=True) == "poor mask"


def test_the_object_that_was_picked_instead_is_named() -> None:
    score = score_frame([answer(30, 0, 40, 10)], TRUTH, [1])
    assert (score.region, score.overlap_with_other) == (0, 2)
    assert failure_of(score, seen=True) == "wrong object"


def test_background_is_no_other_object() -> None:
    assert score_frame([answer(0, 20, 60, 40)], TRUTH, [1]).overlap_with_other is None


def test_an_object_around_the_target_does_not_take_its_mask() -> None:
    inside = FrameGroundTruth({1: block(0, 0, 10, 10), 2: block(0, 0, 30, 30)}, SIZE)
    assert score_frame([answer(0, 0, 10, 10)], inside, [1]).overlap_with_other is None


def test_several_objects_may_be_meant_together() -> None:
    both = Answer(TRUTH.of([1, 2]), (0, 0, 40, 10))
    score = score_frame([both], TRUTH, [1, 2])
    assert (score.region, score.boundary, score.centre_error) == (1, 1, 0)


def test_nothing_answered_has_no_centre_and_no_overlap() -> None:
    score = score_frame([NOTHING], TRUTH, [1])
    assert (score.region, score.boundary, score.centre_error) == (0, 0, None)
    assert failure_of(score, seen=False) == "missed"


@pytest.mark.parametrize(("pixels", "present"), [(14, False), (15, True)])
def test_a_target_of_fewer_than_fifteen_pixels_is_absent(pixels: int, present: bool) -> None:
    truth = FrameGroundTruth({1: block(0, 0, pixels, 1)}, SIZE)
    assert score_frame([answer(0, 0, 9, 9)], truth, [1]).present is present


def test_ignored_pixels_make_a_target_absent_and_are_not_scored() -> None:
    hidden = FrameGroundTruth(TRUTH.masks, SIZE, ignored=block(0, 0, 10, 9))
    score = score_frame([answer(0, 0, 10, 10)], hidden, [1])
    assert not score.present and score.region is None
    assert failure_of(score, seen=True) == "false alarm"
    assert failure_of(score, seen=False) is None
    half = FrameGroundTruth(TRUTH.masks, SIZE, ignored=block(0, 5, 60, 40))
    assert score_frame([answer(0, 0, 10, 30)], half, [1]).region == 1


def test_a_mask_in_ignored_pixels_is_no_false_alarm() -> None:
    right_half = FrameGroundTruth({1: block(0, 0, 0, 0)}, SIZE, ignored=block(0, 0, 30, 40))
    unjudged = score_frame([answer(0, 0, 10, 10)], right_half, [1])
    assert unjudged is not None and failure_of(unjudged, seen=True) is None
    alarm = score_frame([answer(40, 0, 50, 10)], right_half, [1])
    assert alarm is not None and failure_of(alarm, seen=True) == "false alarm"
    nothing_judged = FrameGroundTruth(TRUTH.masks, SIZE, ignored=np.ones(SIZE, bool))
    assert score_frame([answer(0, 0, 10, 10)], nothing_judged, [1]) is None


def test_a_sentence_true_of_nothing_has_an_absent_target() -> None:
    score = score_frame([answer(30, 0, 40, 10)], TRUTH, [])
    assert not score.present and score.overlap_with_other == 2


def test_truth_of_another_size_is_refused() -> None:
    with pytest.raises(ImageError):
        score_frame([Answer(np.zeros((4, 4), bool), None)], TRUTH, [1])


def test_the_masks_of_several_targets_are_scored_as_one() -> None:
    score = score_frame([answer(0, 0, 10, 10), answer(30, 0, 40, 10, 2)], TRUTH, [1, 2])
    assert (score.region, score.boundary, score.centre_error) == (1, 1, 0)
    # 100 right pixels and 50 beside the target; the box around both is 5 pixels off.
    score = score_frame([answer(0, 0, 10, 10), answer(10, 0, 20, 5, 2)], TRUTH, [1])
    assert (score.region, score.centre_error) == (100 / 150, 5)
    half_right = [answer(0, 0, 5, 10), answer(30, 0, 40, 10, 2)]
    assert score_frame(half_right, TRUTH, [1]).overlap_with_other == 2


def test_no_target_is_an_empty_answer() -> None:
    score = score_frame([], TRUTH, [1])
    assert (score.present, score.region, score.boundary, score.answered) == (True, 0, 0, False)
    assert failure_of(score) == "missed"
    assert failure_of(score_frame([], TRUTH, [3])) is None


def test_the_state_of_a_command_is_that_of_its_busiest_target() -> None:
    assert state_of(["lost", "tracking", "occluded"]) == "tracking"
    assert state_of(["searching", "lost"]) == "lost"
    assert state_of([]) == "searching"


def test_a_stream_is_summed_up() -> None:
    scorer = StreamScorer("a", "the red box", since=10.0)
    scorer.add(10.0, "searching", UNANSWERED)
    scorer.add(10.1, "tracking", WRONG)
    scorer.add(10.2, "tracking", POOR)
    scorer.add(10.3, "occluded", ABSENT)
    scorer.add(10.4, "tracking", ALARM)
    scorer.add(10.5, "tracking", RIGHT)
    scorer.drop()
    scorer.add(10.6, "tracking", RIGHT)
    scorer.add(10.7, "tracking", None)
    found = scorer.result()
    assert (found.frames, found.frames_with_truth, found.frames_dropped) == (8, 7, 1)
    assert found.region is not None and found.boundary is not None
    assert found.region.mean == pytest.approx((0 + 0 + 0.4 + 0.9 + 0.9) / 5)
    assert found.region.recall == pytest.approx(2 / 5)
    assert found.boundary.mean == pytest.approx((0.2 + 0.8 + 0.8) / 5)
    assert found.region_and_boundary == pytest.approx((0.44 + 0.36) / 2)
    assert found.right is False
    assert found.time_to_acquire == pytest.approx(0.5)
    assert (found.frames_lost, found.frames_absent, found.false_alarms) == (1, 2, 1)
    assert (found.centre_error, found.frames_located) == (6, 4)  # of 1, 1, 6, 20 and none
    assert found.failures == {"missed": 1, "wrong object": 1, "poor mask": 1, "false alarm": 1}
    assert found.states == {"occluded": 1, "searching": 1, "tracking": 6}
    assert json.loads(json.dumps(asdict(found)))["region"]["mean"] == found.region.mean


def test_a_stream_tells_how_its_tracks_kept_to_their_objects() -> None:
    scorer = StreamScorer("a", "the red box", since=0.0)
    # Right for three frames, on the neighbour for one, and right again under a new id.
    for place, target in enumerate(
        [*[answer(0, 0, 10, 10, 4)] * 3, answer(30, 0, 40, 10, 4), answer(0, 0, 10, 10, 5)]
    ):
        score = score_frame([target], TRUTH, [1])
        scorer.add(float(place), "tracking", score, frame_tracks([target], TRUTH, [1]))
    tracking = scorer.result().tracking
    assert (tracking.ground_truths, tracking.matches) == (5, 4)
    assert (tracking.false_positives, tracking.misses) == (1, 1)
    assert (tracking.identity_switches, tracking.lent_id_frames) == (1, 1)
    assert tracking.mota == pytest.approx(1 - (1 + 1 + 1) / 5)
    assert tracking.idf1 == pytest.approx(2 * 3 / (5 + 5))


def test_a_centre_error_of_mostly_unanswered_frames_is_none() -> None:
    scorer = StreamScorer("a", "the red box", since=0.0)
    for place, score in enumerate([RIGHT, UNANSWERED, UNANSWERED]):
        scorer.add(float(place), "tracking", score)
    found = scorer.result()
    assert (found.centre_error, found.frames_located) == (None, 1)
    scorer.add(3.0, "tracking", POOR)
    scorer.add(4.0, "tracking", POOR)
    assert (scorer.result().centre_error, scorer.result().frames_located) == (6, 3)


def test_without_truth_nothing_is_claimed() -> None:
    scorer = StreamScorer("a", "the red box", since=0.0)
    scorer.add(0.0, "tracking", None)
    found = scorer.result()
    assert (found.region, found.boundary, found.right, found.time_to_acquire) == (None,) * 4
    assert (found.frames_with_truth, found.centre_error, found.frames_located) == (0, None, 0)
    assert (found.tracking.mota, found.tracking.idf1) == (None, None)


def scored(*scores: tuple[float, FrameScore]) -> CommandScores:
    scorer = StreamScorer("a", "a", since=0.0)
    for stamp, score in scores:
        scorer.add(stamp, "tracking", score)
    return scorer.result()


def test_commands_are_put_together() -> None:
    good, bad, absent = scored((1.0, RIGHT)), scored((1.0, UNANSWERED)), scored((1.0, ALARM))
    found = overall_scores([good, bad, absent])
    assert (found.region, found.boundary) == pytest.approx((0.45, 0.4))
    assert found.right == 0.5
    assert (found.frames_lost, found.frames_absent, found.false_alarms) == (1, 1, 1)
    nothing = overall_scores([])
    assert nothing.region is None and nothing.right is None and nothing.false_alarms == 0
    assert (nothing.commands_shown, nothing.time_to_acquire) == (0, None)


def test_a_command_that_never_acquires_counts_as_never() -> None:
    quick, slow = scored((0.5, RIGHT)), scored((0.5, POOR), (2.0, RIGHT))
    never, absent = scored((1.0, UNANSWERED)), scored((1.0, ALARM))
    found = overall_scores([quick, slow, never, absent])
    assert (found.time_to_acquire, found.commands_acquired, found.commands_shown) == (2.0, 2, 3)
    # The median of 0.5 s, 2 s and twice never lies between 2 s and never.
    found = overall_scores([quick, slow, never, never])
    assert (found.time_to_acquire, found.commands_acquired, found.commands_shown) == (None, 2, 4)


def test_a_command_without_a_box_has_an_infinite_centre_error() -> None:
    near, far, never = scored((1.0, RIGHT)), scored((1.0, WRONG)), scored((1.0, UNANSWERED))
    found = overall_scores([near, far, never])
    assert (found.centre_error, found.commands_located, found.commands_shown) == (20, 2, 3)
    assert overall_scores([near, never]).centre_error is None


def test_tracking_of_several_commands_is_unknown_where_one_of_them_is() -> None:
    known = scored((1.0, RIGHT))
    older = replace(known, tracking=None)
    assert overall_scores([known, known]).tracking is not None
    assert overall_scores([known, older]).tracking is None
