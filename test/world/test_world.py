# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The MuJoCo world: seeds, pixels, and sentences that a reader of pixels finds true."""

from __future__ import annotations

import colorsys
import functools
import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from world_reader import Sentence, is_described, read_sentence

from referdino_core.world import (
    KINDS,
    SPLITS,
    VOCABULARY,
    Clip,
    SceneObject,
    WorldRenderer,
    WorldSettings,
)
from referdino_core.world.renderer import clip_generator
from referdino_core.world.scene import COLOURS, SHAPES, sample_scene

CLIP_COUNT = 40


@pytest.fixture(scope="module")
def clips(renderer: WorldRenderer) -> list[Clip]:
    return [renderer.clip("validation", index) for index in range(CLIP_COUNT)]


def fitting(clip: Clip, sentence: Sentence, least_area: int = 5) -> list[int]:
    """Ids of the objects in view that the static words fit."""
    return [
        number
        for number, item in enumerate(clip.objects, start=1)
        if item.areas.max() >= least_area and is_described(sentence.described, item)
    ]


@functools.cache
def mean_column(clip: Clip, frame: int, number: int) -> float:
    return float(np.nonzero(clip.segmentation[frame] == number)[1].mean())


def shown_together(clip: Clip, *numbers: int) -> list[int]:
    """Frames that show each object to at least 60 % of its largest area."""
    areas = np.stack([clip.objects[number - 1].areas for number in numbers])
    whole = areas >= np.maximum(15, 0.6 * areas.max(axis=1, keepdims=True))
    return list(np.flatnonzero(whole.all(axis=0)))


def of_kind(clips: list[Clip], kind: str) -> Iterator[tuple[Clip, Sentence, int | None]]:
    for clip in clips:
        for expression in clip.expressions:
            if expression.kind == kind:
                yield clip, read_sentence(expression.text), expression.target


def test_same_split_and_index_give_the_same_bytes_in_any_order(renderer: WorldRenderer) -> None:
    first = renderer.clip("train", 3)
    renderer.clip("test", 8)
    with WorldRenderer() as other:
        for again in (renderer.clip("train", 3), other.clip("train", 3)):
            assert_array_equal(again.frames, first.frames)
            assert_array_equal(again.segmentation, first.segmentation)
            assert again.expressions == first.expressions


def test_splits_share_no_seed_and_no_scene() -> None:
    states = {
        clip_generator(split, index).bit_generator.state["state"]["state"]
        for split in SPLITS
        for index in range(2000)
    }
    assert len(states) == len(SPLITS) * 2000
    scenes = {
        sample_scene(clip_generator(split, index), WorldSettings()).bodies[0].path.tobytes()
        for split in SPLITS
        for index in range(50)
    }
    assert len(scenes) == len(SPLITS) * 50


def test_clip_has_the_promised_shapes(clips: list[Clip]) -> None:
    for clip in clips:
        assert clip.frames.shape == (12, 120, 160, 3) and clip.frames.dtype == np.uint8
        assert clip.segmentation.shape == (12, 120, 160) and clip.segmentation.dtype == np.uint8
        assert clip.stamps.dtype == np.float64
        assert_array_equal(clip.stamps, np.arange(12) / 10)
        assert 3 <= len(clip.objects) <= 7


def test_segmentation_ids_match_the_objects_and_their_places(clips: list[Clip]) -> None:
    for clip in clips:
        assert clip.segmentation.max() <= len(clip.objects)
        for number, item in enumerate(clip.objects, start=1):
            assert_array_equal(item.areas, (clip.segmentation == number).sum(axis=(1, 2)))
            for frame, (x, y) in enumerate(item.image_positions):
                if not (0 <= x < 160 and 0 <= y < 120):
                    continue
                seen = clip.segmentation[frame, int(y), int(x)]
                assert seen > 0
                occluder = clip.objects[seen - 1]
                assert seen == number or occluder.distances[frame] < item.distances[frame]


def test_pixels_of_an_object_have_its_colour(clips: list[Clip]) -> None:
    right = Counter[bool]()
    numbered = [(clip, n) for clip in clips for n in range(1, len(clip.objects) + 1)]
    for clip, number in numbered:
        pixels = clip.frames[clip.segmentation == number]
        if len(pixels) < 300:
            continue
        hue, saturation, value = colorsys.rgb_to_hsv(*np.median(pixels, axis=0) / 255)
        colour = clip.objects[number - 1].colour
        if colour in ("white", "black"):
            right[saturation < 0.3 and (value > 0.4) == (colour == "white")] += 1
            continue
        wanted = colorsys.rgb_to_hsv(*COLOURS[colour])[0]
        right[saturation > 0.5 and abs((hue - wanted + 0.5) % 1 - 0.5) < 0.05] += 1
    assert right[True] > 100
    assert right[False] == 0


def test_objects_keep_clear_of_each_other_and_still_ones_are_exactly_still() -> None:
    for index in range(100):
        scene = sample_scene(clip_generator("train", index), WorldSettings())
        for body in scene.bodies:
            assert body.moving == bool(np.ptp(body.path, axis=0).max() > 0)
        for one, other in itertools.combinations(scene.bodies, 2):
            gap = np.hypot(*(one.path - other.path)[:, :2].T) - one.footprint - other.footprint
            assert gap.min() > 0


def test_sentences_are_words_of_the_vocabulary(clips: list[Clip]) -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    used: set[str] = set()
    for clip in clips:
        texts = [expression.text for expression in clip.expressions]
        assert len(set(texts)) == len(texts)
        for text in texts:
            assert text == " ".join(text.split())
            used.update(text.split())
    assert used <= set(VOCABULARY)
    assert set(SHAPES) | set(COLOURS) <= used


def test_every_kind_is_plentiful(clips: list[Clip]) -> None:
    holding = Counter(kind for clip in clips for kind in {e.kind for e in clip.expressions})
    assert set(holding) == set(KINDS) - {"plural"}
    assert all(count >= 0.4 * CLIP_COUNT for count in holding.values()), holding
    moving_cameras = sum(clip.camera_moves for clip in clips)
    assert 0.15 * CLIP_COUNT < moving_cameras < 0.6 * CLIP_COUNT


def test_targets_are_large_enough_and_named_by_their_words(clips: list[Clip]) -> None:
    for clip in clips:
        for expression in clip.expressions:
            if expression.target is None:
                assert expression.kind == "absent"
                continue
            target = clip.objects[expression.target - 1]
            assert (target.areas >= 40).mean() > 0.5
            assert is_described(read_sentence(expression.text).described, target)


def test_candidates_are_the_objects_that_fit_the_static_words(clips: list[Clip]) -> None:
    rivalled = Counter[bool]()
    for clip in clips:
        for expression in clip.expressions:
            if expression.kind in ("motion", "direction"):
                assert list(expression.candidates) == fitting(clip, read_sentence(expression.text))
                rivalled[len(expression.candidates) > 1] += 1
            elif expression.target is not None:
                assert expression.candidates == (expression.target,)
    assert rivalled[True] > rivalled[False] > 0


def test_attributes_fit_one_object_alone(clips: list[Clip]) -> None:
    seen = 0
    for clip, sentence, target in of_kind(clips, "attribute"):
        assert sentence.claim is None
        assert fitting(clip, sentence) == [target]
        seen += 1
    assert seen > 200


def test_absent_sentences_fit_nothing(clips: list[Clip]) -> None:
    claims = Counter[str | None]()
    for clip, sentence, _ in of_kind(clips, "absent"):
        claims[sentence.claim] += 1
        members = fitting(clip, sentence, least_area=1)
        if sentence.claim is None:
            assert members == []
        elif sentence.claim in ("moving", "still"):
            assert all(clip.objects[n - 1].moving != (sentence.claim == "moving") for n in members)
        elif sentence.claim in ("moving left", "moving right"):
            sign = 1 if sentence.claim == "moving right" else -1
            for item in (clip.objects[number - 1] for number in members):
                seen = item.image_positions[item.areas >= 15, 0]
                assert len(seen) < 2 or sign * (seen[-1] - seen[0]) <= 4
        elif sentence.anchor is None:
            assert members == []
    assert claims[None] > 100 and claims["moving"] and claims["behind"] and claims["moving left"]


def test_locations_hold_in_the_pixels(clips: list[Clip]) -> None:
    claims = Counter[str | None]()
    for clip, sentence, target in of_kind(clips, "location"):
        assert target is not None
        members = fitting(clip, sentence)
        assert len(members) > 1
        claims[sentence.claim] += 1
        own = clip.objects[target - 1]
        for other in (number for number in members if number != target):
            if sentence.claim in ("closest", "farthest"):
                beyond = clip.objects[other - 1].distances - own.distances
                assert ((beyond if sentence.claim == "closest" else -beyond) > 0.3).all()
                continue
            for frame in shown_together(clip, target, other):
                column, rest_column = (mean_column(clip, frame, n) for n in (target, other))
                if sentence.claim == "middle":
                    assert abs(column - 80) < abs(rest_column - 80)
                else:
                    assert (
                        column < rest_column if sentence.claim == "left" else column > rest_column
                    )
    assert set(claims) == {"left", "right", "middle", "closest", "farthest"}


def holds(clip: Clip, claim: str, number: int, anchor: int, frame: int) -> bool:
    """Whether the relation roughly holds between two objects, judged without margins."""
    own, other = clip.objects[number - 1], clip.objects[anchor - 1]
    if claim in ("left", "right"):
        step = mean_column(clip, frame, number) - mean_column(clip, frame, anchor)
        return step > 0 if claim == "right" else step < 0
    if claim == "next":
        return bool(np.linalg.norm(own.positions[frame] - other.positions[frame]) < 1.2)
    beyond = own.distances[frame] - other.distances[frame]
    masks = [(clip.segmentation[frame] == item).any(axis=0) for item in (number, anchor)]
    spans = [np.flatnonzero(mask) for mask in masks]
    overlap = min(span[-1] for span in spans) - max(span[0] for span in spans)
    return bool(overlap > -3 and (beyond > 0 if claim == "behind" else beyond < 0))


def test_relations_hold_for_the_target_and_an_anchor_with_one_referent(clips: list[Clip]) -> None:
    claims = Counter[str]()
    for clip, sentence, target in of_kind(clips, "relation"):
        assert target is not None and sentence.claim is not None and sentence.anchor is not None
        anchors = fitting(clip, Sentence(sentence.anchor, None, None))
        assert len(anchors) == 1 and anchors[0] != target
        for frame in shown_together(clip, target, anchors[0]):
            assert holds(clip, sentence.claim, target, anchors[0], frame)
        if sentence.claim in ("left", "right"):
            for rival in set(fitting(clip, sentence)) - {target, anchors[0]}:
                for frame in shown_together(clip, rival, anchors[0]):
                    step = mean_column(clip, frame, rival) - mean_column(clip, frame, anchors[0])
                    assert (step < 12) if sentence.claim == "right" else (step > -12)
        claims[sentence.claim] += 1
    assert set(claims) == {"left", "right", "behind", "front", "next"}


def test_motion_sentences_need_a_still_camera_and_tell_the_candidates_apart(
    clips: list[Clip],
) -> None:
    claims = Counter[str | None]()
    for clip, sentence, target in of_kind(clips, "motion"):
        assert not clip.camera_moves
        moves = sentence.claim == "moving"
        for number in fitting(clip, sentence):
            assert clip.objects[number - 1].moving == (moves if number == target else not moves)
        claims[sentence.claim] += 1
    assert set(claims) == {"moving", "still"}


def travel(clip: Clip, item: SceneObject, number: int) -> float:
    """Columns that the visible part of an object travels over the frames that show it whole."""
    frames = shown_together(clip, number)
    return mean_column(clip, frames[-1], number) - mean_column(clip, frames[0], number)


def test_directions_are_seen_in_the_pixels(clips: list[Clip]) -> None:
    claims = Counter[str | None]()
    for clip, sentence, target in of_kind(clips, "direction"):
        assert target is not None and not clip.camera_moves
        sign = 1 if sentence.claim == "moving right" else -1
        item = clip.objects[target - 1]
        seen = np.flatnonzero(item.areas >= 15)
        columns = item.image_positions[:, 0]
        assert sign * (columns[seen[-1]] - columns[seen[0]]) >= 25 / 11 * (seen[-1] - seen[0])
        if len(shown_together(clip, target)) >= 6:
            assert sign * travel(clip, item, target) > 5
        for rival in set(fitting(clip, sentence)) - {target}:
            way = clip.objects[rival - 1].image_positions[:, 0]
            shown = way[clip.objects[rival - 1].areas >= 15]
            assert len(shown) < 2 or sign * (shown[-1] - shown[0]) <= 4
        claims[sentence.claim] += 1
    assert set(claims) == {"moving left", "moving right"}


def test_objects_leave_and_hide_in_some_clips(clips: list[Clip]) -> None:
    vanishing = [
        clip
        for clip in clips
        if any(e.target and (clip.objects[e.target - 1].areas < 15).any() for e in clip.expressions)
    ]
    assert len(vanishing) >= 0.1 * CLIP_COUNT


def test_a_larger_image_shows_the_same_scene(clips: list[Clip]) -> None:
    with WorldRenderer(WorldSettings(width=320, height=240)) as large:
        clip = large.clip("validation", 0)
    small = clips[0]
    assert clip.frames.shape == (12, 240, 320, 3)
    assert [(o.shape, o.colour, o.size) for o in clip.objects] == [
        (o.shape, o.colour, o.size) for o in small.objects
    ]
    assert (clip.segmentation[:, ::2, ::2] == small.segmentation).mean() > 0.97


def test_a_long_clip_keeps_moving_objects_near(renderer: WorldRenderer) -> None:
    settings = WorldSettings(frames=100)
    scenes = [sample_scene(clip_generator("test", index), settings) for index in range(20)]
    movers = [body for scene in scenes for body in scene.bodies if body.moving]
    assert len(movers) > 5
    assert all(np.ptp(body.path[:, :2], axis=0).max() < 8 for body in movers)
