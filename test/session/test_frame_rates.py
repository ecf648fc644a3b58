# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The bundled model on one scene at 2, 10 and 30 images per second: the same decisions."""

from __future__ import annotations

import numpy as np
import pytest

import referdino_core as rd
from referdino_core.evaluation.davis import RIGHT_OVERLAP, region_similarity
from referdino_core.world import Clip, WorldRenderer, WorldSettings

pytestmark = pytest.mark.slow

SCENE_RATE, SECONDS = 30, 3
RATES = (30, 10, 2)
SETTLED = 1.0
"""Seconds after which every rate has seen enough images to decide."""


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    settings = WorldSettings(frames=SECONDS * SCENE_RATE + 1, frame_rate=float(SCENE_RATE))
    with WorldRenderer(settings) as renderer:
        return [renderer.clip("validation", index) for index in (500, 501, 503)]


def decisions(session: rd.Session, clip: Clip, sentence: str, rate: int) -> dict[int, rd.Target]:
    """The targets at every half second, by the number of the scene's frame."""
    session.begin_stream()
    session.command(sentence)
    found = {}
    for frame in range(0, len(clip.frames), SCENE_RATE // rate):
        (target,) = session.step(clip.frames[frame], float(clip.stamps[frame]))
        if frame % (SCENE_RATE // 2) == 0 and clip.stamps[frame] >= SETTLED:
            found[frame] = target
    return found


def test_decisions_are_the_same_at_every_rate(clips: list[Clip]) -> None:
    session = rd.Session("nano")
    compared = 0
    overlaps: list[float] = []
    for clip in clips:
        sentence = next(one for one in clip.expressions if one.kind == "attribute")
        by_rate = [decisions(session, clip, sentence.text, rate) for rate in RATES]
        for frame, at_thirty in by_rate[0].items():
            for other in by_rate[1:]:
                target = other[frame]
                assert (target.state, target.track_id) == (at_thirty.state, at_thirty.track_id)
                overlaps.append(region_similarity(target.mask, at_thirty.mask))
                # The same object; of a small one, the rim alone is a fifth of the mask.
                assert overlaps[-1] > RIGHT_OVERLAP
                compared += 1
        right = clip.segmentation[-1] == sentence.target
        assert np.count_nonzero(by_rate[0][len(clip.frames) - 1].mask & right) > 0
    assert compared == 3 * 2 * 5
    assert np.mean(overlaps) > 0.9
