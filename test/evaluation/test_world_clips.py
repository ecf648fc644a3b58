# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of sentences over clips of the world, and the tables of them."""

from __future__ import annotations

import numpy as np

from referdino_core.evaluation.world_clips import SentenceScore, score_sentence, table
from referdino_core.world import Clip, Expression, WorldRenderer


def scored(kind: str, region: float | None, area: float | None) -> SentenceScore:
    return SentenceScore(0, "the ball", kind, region, region, 12 if region is None else 0, 3, area)


def cells_of(markdown: str, name: str) -> list[str]:
    (row,) = (line for line in markdown.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_static_sentences_are_also_told_by_the_size_of_their_target() -> None:
    scores = [
        scored("attribute", 0.2, 40.0),
        scored("relation", 0.8, 79.0),
        scored("location", 0.9, 80.0),
        scored("attribute", 0.9, 4000.0),
        scored("motion", 0.1, 40.0),
        scored("absent", None, None),
    ]
    found = table({"streaming": scores})
    assert cells_of(found, "static, all")[0] == "4"
    assert cells_of(found, "static, target of 0 to 80 pixels") == [
        "2", "0.500", "0.500", "0.500", "50.0%",
    ]  # fmt: skip
    assert cells_of(found, "static, target of 80 to 160 pixels")[0] == "1"
    assert cells_of(found, "static, target of 320 pixels or more")[-1] == "100.0%"
    assert "160 to 320" not in found
    assert cells_of(found, "sentence true of nothing") == ["12", "25.0%"]


def test_the_area_is_that_of_the_frames_that_show_the_target(renderer: WorldRenderer) -> None:
    clip: Clip = renderer.clip("test", 0)
    sentence: Expression = next(one for one in clip.expressions if one.target is not None)
    truth = clip.segmentation == sentence.target
    score = score_sentence(clip, sentence, list(truth))
    assert score.region == 1.0 and score.right
    areas = truth.sum((1, 2))
    assert score.area == np.mean(areas[areas >= 15])
