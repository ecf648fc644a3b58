# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's commands: any number of targets each, and results that come late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from referdino_core.replay.frame_results import LatestResult

from referdino_core.evaluation.ground_truth import FrameTruth
from referdino_core.replay.clocks import RealTimeClock
from referdino_core.replay.commands import GivenCommand
from referdino_core.replay.recording import NANOSECONDS, RecordedFrame
from referdino_core.replay.scoring import CommandScorer
from referdino_core.target import Target, TargetState

SIZE = (20, 80)
CUPS, BALL = GivenCommand("a", "the cups", None, 0.0), GivenCommand("b", "the ball", None, 0.0)


def square(left: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[:10, left : left + 10] = True
    return mask


def target(command: GivenCommand, track_id: int, left: int) -> Target:
    box = (float(left), 0.0, float(left + 10), 10.0)
    name, text = command.command_id, command.text
    return Target(name, text, track_id, TargetState.TRACKING, 0.9, 0.9, box, square(left))


def scorer_of(*commands: tuple[GivenCommand, tuple[int, ...]]) -> CommandScorer:
    scorer = CommandScorer()
    for command, objects in commands:
        scorer.begin(command, objects)
    return scorer


def scores_of(scorer: CommandScorer) -> list[dict[str, Any]]:
    commands: list[dict[str, Any]] = scorer.summary()["commands"]
    return commands


def test_a_command_may_have_any_number_of_targets_in_a_frame() -> None:
    scorer = scorer_of((CUPS, (1, 2)), (BALL, (3,)))
    truth = FrameTruth({1: square(0), 2: square(20), 3: square(40)}, SIZE)
    both = [target(CUPS, 1, 0), target(CUPS, 2, 20)]

    predictions: Iterable[list[Target]] = ([*both, target(BALL, 3, 40)], [both[0]], [])
    found = [
        scorer.add(truth, 0.1 * place, False, targets, [CUPS, BALL])
        for place, targets in enumerate(predictions)
    ]

    regions = [[score.region for score in frame.values() if score] for frame in found]
    assert regions == [[1, 1], [0.5, 0], [0, 0]]
    cups, ball = scores_of(scorer)
    assert cups["region"]["mean"] == pytest.approx(0.5)
    assert (cups["frames"], cups["frames_lost"], ball["frames_lost"]) == (3, 1, 2)
    assert (cups["tracking"]["ground_truths"], cups["tracking"]["matches"]) == (6, 3)
    assert cups["tracking"]["identity_switches"] == 0
    assert (ball["states"], cups["states"]) == (
        {"searching": 2, "tracking": 1},
        {"searching": 1, "tracking": 2},
    )


def test_only_running_commands_are_scored() -> None:
    scorer = scorer_of((CUPS, (1,)), (BALL, (3,)))
    truth = FrameTruth({1: square(0), 3: square(40)}, SIZE)
    assert list(scorer.add(truth, 0.0, False, [], [BALL])) == [1]
    cups, ball = scores_of(scorer)
    assert (cups["frames"], ball["frames"]) == (0, 1)


def test_an_id_is_lent_across_the_commands_of_a_run() -> None:
    scorer = scorer_of((CUPS, (1,)), (BALL, (3,)))
    truth = FrameTruth({1: square(0), 3: square(40)}, SIZE)
    scorer.add(truth, 0.0, False, [target(CUPS, 1, 0), target(BALL, 1, 40)], [CUPS, BALL])
    cups, ball = scores_of(scorer)
    assert (cups["tracking"]["lent_id_frames"], ball["tracking"]["lent_id_frames"]) == (0, 1)
    assert scorer.summary()["all"]["tracking"]["lent_id_frames"] == 1


def test_results_of_earlier_images_lend_no_id() -> None:
    scorer = scorer_of((BALL, (3,)))
    truth = FrameTruth({1: square(0), 3: square(40)}, SIZE)
    passing = FrameTruth({1: square(40), 3: square(20)}, SIZE)
    result = [target(BALL, 1, 40)]
    scorer.add(truth, 0.0, False, result, [BALL])
    scorer.add(passing, 0.1, True, result, [BALL], stale=True)
    assert scores_of(scorer)[0]["tracking"]["lent_id_frames"] == 0
    scorer.add(passing, 0.2, False, result, [BALL])
    assert scores_of(scorer)[0]["tracking"]["lent_id_frames"] == 1


def test_a_late_result_costs_in_streaming_what_the_object_moved_meanwhile() -> None:
    """An object moves by 5 of its 10 pixels per frame, and every result is right and one frame late."""
    period = NANOSECONDS // 10
    frames = [
        RecordedFrame(place, place * period, None, place * period, None, lambda: np.zeros(0))
        for place in range(5)
    ]
    latest, streaming = LatestResult(), scorer_of((BALL, (3,)))
    for scheduled in RealTimeClock((period,), "100ms").schedule(frames):
        place, arrival = scheduled.frame.index, scheduled.frame.arrival
        assert scheduled.finished == arrival + period
        latest.add(scheduled.finished, (target(BALL, 1, 5 * place),))
        targets = latest.at(arrival, [BALL], SIZE)
        truth = FrameTruth({3: square(5 * place)}, SIZE)
        streaming.add(truth, arrival / NANOSECONDS, False, targets, [BALL])
    (ball,) = scores_of(streaming)
    # Nothing is there for the first frame; then 5 of 15 pixels of the union are right.
    assert ball["region"]["mean"] == pytest.approx((0 + 4 * 5 / 15) / 5)
    assert (ball["frames_lost"], ball["time_to_acquire"]) == (1, None)
