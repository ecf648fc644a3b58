# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A moving camera: which sentence is asked, and what the table says of the bundled model."""

from __future__ import annotations

import pytest

import referdino_core as rd
from referdino_core.evaluation.moving_camera import (
    FRAMES,
    CameraMotion,
    KeptScore,
    choose_sentence,
    evaluate_moving_camera,
    moving_camera_table,
)
from referdino_core.world import WorldRenderer, WorldSettings


def test_motions_are_named() -> None:
    assert str(CameraMotion()) == "stands still"
    assert str(CameraMotion(0.5, 0.3)) == "turns at 0.5 rad/s and drives forward at 0.3 m/s"


def test_the_table_counts_images_and_clips() -> None:
    scores = [KeptScore(0, "the ball", 20, 15, 4, 1, 1), KeptScore(1, "the box", 20, 20, 0, 0, 2)]
    rows = moving_camera_table({CameraMotion(turn=0.2): scores}).splitlines()
    assert rows[-1] == "| turns at 0.2 rad/s | 2 | 87.5% | 50.0% | 25.0% |"
    assert "| stands still | 0 | none | none | none |" in moving_camera_table({CameraMotion(): []})


@pytest.mark.slow
def test_a_slowly_turning_camera_is_scored_with_the_bundled_model() -> None:
    session = rd.Session("nano")
    motion = CameraMotion(turn=0.2)
    (scores,) = evaluate_moving_camera(session, "validation", range(6), [motion]).values()
    settings = WorldSettings(frames=FRAMES, scenes="robot", turn=0.2, drive=0.0)
    with WorldRenderer(settings) as renderer:
        asked = {index: choose_sentence(renderer.clip("validation", index)) for index in range(6)}
    assert {one.clip: one.text for one in scores} == {
        index: sentence.text for index, sentence in asked.items() if sentence is not None
    }
    assert scores and all(one.shown + one.empty == FRAMES for one in scores)
    assert sum(one.right for one in scores) > 0.5 * sum(one.shown for one in scores)
