# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Both ways of inference in benchmarks, with the bundled model."""

from __future__ import annotations

import numpy as np
import pytest
from miniature_benchmarks import Scene, make_scenes
from numpy.testing import assert_array_equal

import referdino_core as rd
from referdino_core.errors import CommandError
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, Streamed, WholeClip
from referdino_core.evaluation.whole_clip import read_clip
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def scene(renderer: WorldRenderer) -> Scene:
    return make_scenes(renderer, 1)[0]


@pytest.fixture(scope="module")
def session() -> rd.Session:
    return rd.Session("nano")


def frames_of(scene: Scene, only_frame: int | None = None) -> ReadFrames:
    count = len(scene.frames)
    stamps = [0.1 * index for index in range(count)]
    return ReadFrames("clip", scene.frames, stamps, range(count), only_frame)


def sentences_of(scene: Scene) -> list[str]:
    return [own[0] for own in scene.sentences]


@pytest.mark.parametrize("merge_above", [1.0, 0.2])
def test_whole_clip_results_are_those_of_the_clips_reading(
    scene: Scene, session: rd.Session, merge_above: float
) -> None:
    frames, sentences = frames_of(scene), sentences_of(scene)
    results = WholeClip(session, merge_above).segment(frames, sentences)
    for result, sentence in zip(results, sentences, strict=True):
        masks = np.stack(list(result.masks()))
        reading = read_clip(session.model, session.tokenizer, sentence, scene.frames, frames.stamps)
        assert_array_equal(masks, reading.answer(merge_above))
        assert masks.any()
        probabilities = np.stack(list(result.probabilities()))
        assert_array_equal(probabilities > 0.5, masks)


def test_where_one_frame_is_evaluated_the_whole_clip_is_that_frame(
    scene: Scene, session: rd.Session
) -> None:
    frames, (sentence, _) = frames_of(scene, only_frame=2), sentences_of(scene)
    (result,) = WholeClip(session).segment(frames, [sentence])
    alone = ReadFrames("clip", scene.frames[2:3], frames.stamps[2:3], [0])
    (expected,) = WholeClip(session).segment(alone, [sentence])
    candidates = result.candidates()
    assert len(candidates) == 32
    scores = [candidate.score for candidate in candidates]
    assert scores == sorted(scores, reverse=True)
    for candidate, other in zip(candidates, expected.candidates(), strict=True):
        assert candidate.score == pytest.approx(other.score)
        assert_array_equal(candidate.mask, other.mask)


def test_every_streamed_clip_is_segmented_like_a_fresh_session(
    scene: Scene, session: rd.Session
) -> None:
    sentences = sentences_of(scene)
    fresh = rd.Session("nano")
    fresh.commands = dict(zip("ab", sentences, strict=True))
    frames = frames_of(scene)
    expected = [fresh.step(*given) for given in zip(frames.images, frames.stamps, strict=True)]
    streamed = Streamed(session)
    larger = np.repeat(np.repeat(scene.frames, 2, axis=1), 2, axis=2)
    streamed.segment(ReadFrames("other", larger, frames.stamps, frames.indices), sentences)
    results = streamed.segment(frames, sentences)
    for place, result in enumerate(results):
        masks = np.stack(list(result.masks()))
        assert_array_equal(masks, np.stack([targets[place].mask for targets in expected]))
        assert masks[-1].any()
        assert_array_equal(np.stack(list(result.probabilities())) > 0.49, masks)
        (candidate,) = result.candidates()
        assert candidate.score == pytest.approx(expected[-1][place].frame_score)
        assert_array_equal(candidate.mask, masks[-1])


def test_a_sentence_that_is_none_is_refused_before_any_work(session: rd.Session) -> None:
    for segmenter in (WholeClip(session), Streamed(session)):
        segmenter.check("the red ball")
        with pytest.raises(CommandError):
            segmenter.check(" ")


def test_a_stream_merges_every_object_above_the_threshold_as_whole_clips_do(
    scene: Scene, session: rd.Session
) -> None:
    usual = session.settings
    streamed = Streamed(session, 0.2)
    frames, sentences = frames_of(scene), sentences_of(scene)
    results = streamed.segment(frames, sentences)
    every = rd.Session("nano", settings=rd.SessionSettings(select="all", accept=0.2, keep=0.2))
    every.commands = dict(zip("ab", sentences, strict=True))
    masks = [list(result.masks()) for result in results]
    for number, (image, stamp) in enumerate(zip(frames.images, frames.stamps, strict=True)):
        targets = every.step(image, stamp)
        for place, key in enumerate("ab"):
            own = [target.mask for target in targets if target.command_id == key]
            assert_array_equal(masks[place][number], np.logical_or.reduce(own))
    assert session.settings == usual and session.commands == {}
    assert streamed.settings["select"] == "all"
