# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Identity over time against recorded values of TrackEval, and against facts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from repository import DATA

from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.evaluation.tracking_measures import (
    FirstObjects,
    FrameTracks,
    TrackingScorer,
    TrackingScores,
    combined,
    frame_tracks,
)

RECORDED = json.loads(DATA.joinpath("tracking_measures.json").read_text())
SIZE = (20, 100)
LANE = 20  # pixels between the objects
OBJECTS = (1, 2, 3)


def scored_recording(sequence: Mapping[str, Any]) -> TrackingScores:
    scorer = TrackingScorer()
    for frame in sequence["frames"]:
        shape = len(frame["objects"]), len(frame["tracks"])
        scorer.add(
            FrameTracks(
                frame["objects"],
                frame["tracks"],
                np.array(frame["overlaps"]).reshape(shape),
                [None] * shape[1],
            )
        )
    return scorer.result()


def assert_recorded(found: TrackingScores, values: Mapping[str, float]) -> None:
    assert found.matches == values["CLR_TP"]
    assert found.misses == values["CLR_FN"]
    assert found.false_positives == values["CLR_FP"]
    assert found.identity_switches == values["IDSW"]
    assert found.identity_matches == values["IDTP"]
    assert found.ground_truths - found.identity_matches == values["IDFN"]
    assert found.matches + found.false_positives - found.identity_matches == values["IDFP"]
    assert found.mota == pytest.approx(values["MOTA"], abs=1e-12)
    assert found.idf1 == pytest.approx(values["IDF1"], abs=1e-12)


@pytest.mark.parametrize("place", range(len(RECORDED["sequences"])))
def test_every_recorded_sequence_is_reproduced(place: int) -> None:
    sequence = RECORDED["sequences"][place]
    assert_recorded(scored_recording(sequence), sequence["values"])


def test_sequences_are_combined_as_recorded() -> None:
    found = combined(scored_recording(sequence) for sequence in RECORDED["sequences"])
    assert_recorded(found, RECORDED["combined"])


@dataclass(frozen=True, eq=False)
class Track:
    track_id: int
    mask: np.ndarray


def square(place: float, side: int = 10) -> np.ndarray:
    """A square in the lane of an object, counted from 1; 0 for an empty mask."""
    mask = np.zeros(SIZE, bool)
    if place:
        left = round(LANE * place)
        mask[:side, left : left + side] = True
    return mask


def scene(present: Sequence[int] = OBJECTS) -> FrameGroundTruth:
    return FrameGroundTruth({one: square(one if one in present else 0) for one in OBJECTS}, SIZE)


Step = tuple[int, float]  # a track id and the object that its mask covers


def score(
    *frames: Sequence[Step] | Step,
    means: Sequence[int] = (1,),
    present: Mapping[int, Sequence[int]] | None = None,
    first_objects: FirstObjects | None = None,
) -> TrackingScores:
    """Scores of a command; `present` names the objects of frames that do not show all."""
    scorer = TrackingScorer(first_objects)
    for place, frame in enumerate(frames):
        steps = [frame] if frame and isinstance(frame[0], int) else frame
        targets = [Track(track, square(number)) for track, number in steps]
        truth = scene((present or {}).get(place, OBJECTS))
        scorer.add(frame_tracks(targets, truth, means))
    return scorer.result()


def figures(found: TrackingScores) -> tuple[int, int, int, int, int]:
    return (
        found.matches,
        found.misses,
        found.false_positives,
        found.identity_switches,
        found.lent_id_frames,
    )


def test_an_object_kept_under_one_id_is_all_right() -> None:
    found = score((7, 1), (7, 1), (7, 1))
    assert figures(found) == (3, 0, 0, 0, 0)
    assert (found.mota, found.idf1) == (1, 1)


def test_an_id_that_moves_to_a_neighbour_is_lent() -> None:
    found = score((7, 1), (7, 1), (7, 1), (7, 2), (7, 2))
    assert figures(found) == (3, 2, 2, 0, 2)
    assert found.mota == pytest.approx(1 - 4 / 5)
    assert found.idf1 == pytest.approx(2 * 3 / (5 + 5))


def test_an_id_that_comes_from_a_neighbour_is_lent_as_well() -> None:
    found = score((7, 2), (7, 2), (7, 1), (7, 1), (7, 1))
    assert figures(found) == (3, 2, 2, 0, 3)


def test_giving_up_a_wrong_object_costs_no_identity() -> None:
    found = score((7, 2), (7, 2), (8, 1), (8, 1), (8, 1), (8, 1))
    assert figures(found) == (4, 2, 2, 0, 0)
    assert found.mota == pytest.approx(1 - 4 / 6)
    assert found.idf1 == pytest.approx(2 * 4 / (6 + 6))


def test_a_target_that_returns_under_its_own_id_is_no_switch() -> None:
    absent = {2: (2, 3), 3: (2, 3)}
    found = score((7, 1), (7, 1), (), (), (7, 1), present=absent)
    assert figures(found) == (3, 0, 0, 0, 0)
    assert (found.mota, found.idf1) == (1, 1)


def test_a_target_that_returns_under_another_id_is_one_switch() -> None:
    absent = {2: (2, 3), 3: (2, 3)}
    found = score((7, 1), (7, 1), (), (), (8, 1), present=absent)
    assert figures(found) == (3, 0, 0, 1, 0)
    assert found.mota == pytest.approx(1 - 1 / 3)
    assert found.idf1 == pytest.approx(2 * 2 / (3 + 3))


def test_an_id_on_a_neighbour_while_its_target_is_away_is_a_false_positive_and_lent() -> None:
    absent = {2: (2, 3), 3: (2, 3)}
    found = score((7, 1), (7, 1), (7, 2), (7, 2), (7, 1), present=absent)
    assert figures(found) == (3, 0, 2, 0, 2)
    assert found.mota == pytest.approx(1 - 2 / 3)
    assert found.idf1 == pytest.approx(2 * 3 / (3 + 5))


def test_a_mask_on_the_background_is_a_false_positive_and_lends_nothing() -> None:
    found = score((7, 1), (7, 3.5))
    assert figures(found) == (1, 1, 1, 0, 0)


def test_two_commands_on_one_object_with_one_id_lend_nothing() -> None:
    shared = FirstObjects()
    right = score((7, 1), (7, 1), first_objects=shared)
    other = score((7, 1), (7, 1), means=(2,), first_objects=shared)
    assert figures(right) == (2, 0, 0, 0, 0)
    assert figures(other) == (0, 2, 2, 0, 0)  # the wrong object, but no id on two
    both = combined([right, other])
    assert (both.mota, both.idf1) == (0, 2 * 2 / (4 + 4))


def test_one_id_on_the_objects_of_two_commands_is_lent() -> None:
    shared = FirstObjects()
    assert score((7, 1), first_objects=shared).lent_id_frames == 0
    assert figures(score((7, 2), means=(2,), first_objects=shared)) == (1, 0, 0, 0, 1)


def test_several_targets_of_a_command_are_tracks_of_their_own() -> None:
    found = score([(7, 1), (8, 2)], [(8, 2)], [(7, 2), (8, 1)], means=(1, 2))
    assert figures(found) == (5, 1, 0, 2, 1)
    assert found.mota == pytest.approx(1 - (1 + 0 + 2) / 6)
    assert found.idf1 == pytest.approx(2 * 3 / (6 + 5))


def test_ids_that_are_exchanged_between_two_targets_are_lent_frames_not_masks() -> None:
    assert score([(7, 1), (8, 2)], [(7, 2), (8, 1)], means=(1, 2)).lent_id_frames == 1


def test_a_mask_of_half_an_object_matches_it_and_one_of_less_does_not() -> None:
    for rows, matches in ((5, 1), (4, 0)):
        half = square(1)
        half[rows:] = False
        scorer = TrackingScorer()
        scorer.add(frame_tracks([Track(7, half)], scene(), [1]))
        assert scorer.result().matches == matches


def test_a_command_true_of_nothing_has_false_positives_and_no_accuracy() -> None:
    found = score((7, 1), (7, 1), means=())
    assert figures(found) == (0, 0, 2, 0, 0)
    assert (found.mota, found.idf1) == (None, 0)
    silent = score((), (), means=())
    assert (silent.mota, silent.idf1) == (None, None)


def test_pixels_that_are_ignored_belong_to_no_track_and_no_object() -> None:
    ignored = np.zeros(SIZE, bool)
    ignored[:, : LANE + 15] = True  # all of the first object
    hidden = FrameGroundTruth(scene().masks, SIZE, ignored)
    found = frame_tracks([Track(7, square(1)), Track(8, square(1.3))], hidden, [1, 2])
    assert (list(found.objects), list(found.tracks)) == ([2], [8])
    assert list(found.lies_on) == [None]


def test_of_overlapping_objects_a_mask_lies_on_the_one_that_it_resembles() -> None:
    inside = FrameGroundTruth({1: square(1), 2: square(1, 20)}, SIZE)
    assert list(frame_tracks([Track(7, square(1))], inside, [2]).lies_on) == [1]
