# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Targets that are painted out: what is scored, and that the bundled model keeps its word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import referdino_core as rd
from referdino_core.evaluation.hidden_targets import (
    BACK,
    HIDDEN,
    choose_sentence,
    evaluate_identity,
    identity_table,
    images_of,
    score_identity,
)
from referdino_core.world import Clip, Expression, WorldRenderer, WorldSettings

pytestmark = pytest.mark.slow

CLIP = 1


@pytest.fixture(scope="module")
def clip() -> Clip:
    with WorldRenderer(WorldSettings(frames=52)) as renderer:
        return renderer.clip("validation", CLIP)


@pytest.fixture(scope="module")
def sentence(clip: Clip) -> Expression:
    chosen = choose_sentence(clip)
    assert chosen is not None
    return chosen


def test_only_the_target_s_surroundings_change_and_only_while_it_is_hidden(
    clip: Clip, sentence: Expression
) -> None:
    assert sentence.target is not None
    for number, image in enumerate(images_of(clip, sentence.target)):
        changed = (image != clip.frames[number]).any(axis=2)
        target = clip.segmentation[number] == sentence.target
        assert changed.any() == (number in HIDDEN)
        if number in HIDDEN:
            assert changed[target].mean() > 0.9
            rows, columns = np.nonzero(target)
            assert not changed[: max(rows.min() - 3, 0)].any()
            assert not changed[:, columns.max() + 4 :].any()


def targets_on(clip: Clip, masks: np.ndarray, ids: list[int]) -> list[rd.Target]:
    state = rd.TargetState.TRACKING
    return [
        rd.Target("command", "", number, state, 1.0, 1.0, None, mask)
        for number, mask in zip(ids, masks, strict=True)
    ]


def test_lent_ids_and_returns_are_counted(clip: Clip, sentence: Expression) -> None:
    target = clip.segmentation == sentence.target
    right = target.copy()
    right[HIDDEN] = False
    perfect = score_identity(clip, sentence, targets_on(clip, right, [4] * 52))
    assert perfect is not None
    assert (perfect.lent_frames, perfect.lent, perfect.returned) == (0, False, True)

    lent = right.copy()
    lent[12:15, :9, :9] = True
    score = score_identity(clip, sentence, targets_on(clip, lent, [4] * 52))
    assert score is not None
    assert (score.lent_frames, score.lent, score.returned) == (3, True, True)

    another = score_identity(clip, sentence, targets_on(clip, lent, [4] * 12 + [5] * 40))
    assert another is not None
    assert (another.lent_frames, another.lent, another.returned) == (0, False, False)

    elsewhere = right.copy()
    elsewhere[BACK[0]] = False
    elsewhere[BACK[0], :9, :9] = True
    score = score_identity(clip, sentence, targets_on(clip, elsewhere, [4] * 52))
    assert score is not None
    assert (score.lent_frames, score.lent, score.returned) == (0, True, True)

    never = replace(sentence, target=200)
    assert score_identity(clip, never, targets_on(clip, right, [4] * 52)) is None


def test_the_bundled_model_s_ids_stay_with_their_objects() -> None:
    scores = evaluate_identity(rd.Session("nano"), "validation", range(12))
    assert len(scores) >= 9
    assert sum(score.lent_frames for score in scores) <= 0.04 * 20 * len(scores)
    assert sum(score.returned for score in scores) >= 0.9 * len(scores)
    assert f"{len(scores)} clips" in identity_table(scores)
