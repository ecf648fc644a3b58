# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""peers/grounding_dino.py, on a small random network of transformers' real class."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

import peer_samples

from referdino_core.errors import CommandError
from referdino_core.peers.following import PeerSettings
from referdino_core.peers.grounding_dino import box_mask
from referdino_core.target import TargetState, box_overlaps

EVERY_BOX = PeerSettings(box_threshold=0.0, text_threshold=0.0, duplicate=1.0, max_objects=10)


def test_sentences_are_lower_case_and_without_stops_inside() -> None:
    assert peer_samples.detector().phrase(" The red. Ball? ") == "the red ball"
    with pytest.raises(CommandError, match="empty"):
        peer_samples.detector().phrase("...")
    with pytest.raises(CommandError, match="reads 64"):
        peer_samples.detector().phrase("red " * 70)


def test_a_sentence_has_the_scores_of_its_own_words_in_a_prompt_of_two() -> None:
    detector, image = peer_samples.detector(), peer_samples.images(1)[0]
    both = detector.detect(image, ["the red ball", "a dog"], EVERY_BOX)
    swapped = detector.detect(image, ["a dog", "the red ball"], EVERY_BOX)
    assert len(both) == 2 and [len(one.scores) for one in both] == [10, 10]
    # The words of other sentences are masked, but the image is encoded with all of them.
    assert both[0].best == pytest.approx(swapped[1].best, abs=0.05)
    assert not np.allclose(both[0].scores, both[1].scores)


def test_more_sentences_than_one_prompt_holds_are_all_answered() -> None:
    detector, image = peer_samples.detector(), peer_samples.images(1)[0]
    sentences = ["the red ball on the table that jumps left of the blue box"] * 9
    assert len(detector._prompts([detector.phrase(one) for one in sentences])) > 1
    found = detector.detect(image, sentences, EVERY_BOX)
    assert len(found) == 9
    assert found[0].best == pytest.approx(found[8].best, abs=0.05)


def test_boxes_are_in_pixels_of_the_image_whatever_its_size() -> None:
    detector = peer_samples.detector()
    for height, width in ((48, 64), (64, 48), (100, 37)):
        image = peer_samples.images(1, (height, width))[0]
        (found,) = detector.detect(image, ["a ball"], EVERY_BOX)
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, [0, 2]] <= width).all() and (found.boxes[:, [1, 3]] <= height).all()
        assert (np.diff(found.scores) <= 0).all()


def test_a_box_counts_from_its_thresholds_on_and_duplicates_are_left_out() -> None:
    detector, image = peer_samples.detector(), peer_samples.images(1)[0]
    (found,) = detector.detect(image, ["a ball"], EVERY_BOX)
    middle = float(found.scores[4])
    (fewer,) = detector.detect(
        image, ["a ball"], PeerSettings(text_threshold=middle, duplicate=1.0)
    )
    assert len(fewer.scores) == 4
    (none,) = detector.detect(image, ["a ball"], PeerSettings(box_threshold=1.0))
    assert len(none.scores) == 0 and none.best == found.best
    (apart,) = detector.detect(image, ["a ball"], PeerSettings(duplicate=0.0, max_objects=10))
    for place, box in enumerate(apart.boxes):
        assert not box_overlaps(apart.boxes[:place], box).any()


def test_the_floor_fills_boxes_and_is_lost_at_once() -> None:
    session = peer_samples.floor(box_threshold=0.0, text_threshold=0.0)
    session.command("the red ball")
    (found,) = session.step(peer_samples.images(1)[0])
    assert found.state is TargetState.TRACKING and found.track_id == 1
    assert found.predicted_box is not None
    assert np.array_equal(found.mask, box_mask(found.predicted_box, (48, 64)))
    (again,) = session.step(peer_samples.images(1)[0])
    assert again.track_id == 1, "the same box keeps its identity"
    session.settings = PeerSettings(box_threshold=1.0)
    (lost,) = session.step(peer_samples.images(1)[0])
    assert lost.state is TargetState.LOST and not lost.mask.any() and lost.box is None
    assert lost.track_id == 1
    assert not session.capabilities.masks


def test_the_floor_searches_before_its_first_box_and_gives_every_object_if_asked() -> None:
    session = peer_samples.floor(box_threshold=1.0)
    session.commands = {"a": "the red ball"}
    (found,) = session.step(peer_samples.images(1)[0])
    assert found.state is TargetState.SEARCHING and found.track_id == 0 and 0 < found.score <= 1
    every = peer_samples.floor(box_threshold=0.0, text_threshold=0.0, select="all", max_objects=5)
    every.commands = {"a": "the red ball"}
    targets = every.step(peer_samples.images(1)[0])
    assert 1 < len(targets) <= 5
    assert len({one.track_id for one in targets}) == len(targets)
