# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sampling and augmentation of training clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import referdino_core as rd
from referdino_core.training.augmentation import (
    ClipSample,
    augmented,
    cropped,
    mirrored_sentence,
    network_input,
)
from referdino_core.training.clip_samples import NEIGHBOURS, Draws, drawn_frames
from referdino_core.training.data_sets import Mixture
from referdino_core.training.video_recipes import RECIPES, changed

RECIPE = RECIPES["ytvos_swint"]


def sample() -> ClipSample:
    """Three images of noise; the target is a rectangle at the left."""
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)
    masks = np.zeros((3, 40, 60), dtype=bool)
    masks[:, 10:20, 5:15] = True
    return ClipSample("clip", images, masks, "the dog on the left")


@pytest.mark.parametrize(
    ("sentence", "mirrored"),
    [
        ("the dog on the left", "the dog on the right"),
        ("Left one, right of the cup", "Right one, left of the cup"),
        ("the leftmost person", "the rightmost person"),
        ("a bright leftover", "a bright leftover"),
    ],
)
def test_left_and_right_change_places(sentence: str, mirrored: str) -> None:
    assert mirrored_sentence(sentence) == mirrored
    assert mirrored_sentence(mirrored) == sentence


def test_a_mirrored_clip_is_mirrored_in_images_masks_and_sentence() -> None:
    recipe = changed(RECIPE, ["flip=1", "crop=0", "distortion=0"])
    found = augmented(sample(), recipe, np.random.default_rng(0))
    assert np.array_equal(found.images, sample().images[:, :, ::-1])
    assert found.masks[:, 10:20, 45:55].all() and found.masks.sum() == 300
    assert found.sentence == "the dog on the right"


def test_a_crop_keeps_the_target() -> None:
    for seed in range(50):
        found = cropped(sample(), np.random.default_rng(seed))
        assert found.masks.sum() == 300
        assert found.images.shape[:3] == found.masks.shape
        assert min(found.images.shape[1] / 40, found.images.shape[2] / 60) >= 0.59


def test_distortion_changes_values_and_nothing_else() -> None:
    recipe = changed(RECIPE, ["flip=0", "crop=0", "distortion=1"])
    found = augmented(sample(), recipe, np.random.default_rng(0))
    assert found.images.dtype == np.uint8 and found.images.shape == sample().images.shape
    assert not np.array_equal(found.images, sample().images)
    assert np.array_equal(found.masks, sample().masks)


def test_pixels_and_masks_have_one_of_the_scales() -> None:
    shapes = set()
    for seed in range(30):
        pixels, masks = network_input(sample(), 100, (0.5, 1.0), np.random.default_rng(seed))
        assert pixels.shape[2:] == masks.shape[1:] and masks.dtype == torch.bool
        assert masks.float().mean().item() == pytest.approx(300 / (3 * 2400), rel=0.2)
        shapes.add(tuple(masks.shape[1:]))
    assert shapes == {(50, 75), (100, 150)}


def test_frames_are_an_anchor_two_neighbours_and_three_from_anywhere() -> None:
    for seed in range(50):
        frames = drawn_frames(40, 6, 20, np.random.default_rng(seed))
        assert frames == sorted(set(frames)) and len(frames) == 6 and 20 in frames
        assert sum(abs(frame - 20) <= NEIGHBOURS for frame in frames) >= 3
    assert drawn_frames(1, 6, 0, np.random.default_rng(0)) == [0] * 6
    assert sorted(set(drawn_frames(4, 6, 3, np.random.default_rng(0)))) == [0, 1, 2, 3]


def test_an_epoch_goes_through_every_item_once_and_processes_share_it() -> None:
    recipe = changed(RECIPE, ["clips_per_step=2", "epochs=2"])
    items = Mixture((12,), (1.0,))
    ranks = [list(Draws(items, recipe, 3, 0, rank, 2)) for rank in range(2)]
    assert len(ranks[0]) == len(Draws(items, recipe, 3, 0, 0, 2)) == 6
    for epoch in (slice(0, 3), slice(3, 6)):
        drawn = [draw.item for rank in ranks for step in rank[epoch] for draw in step]
        assert sorted(drawn) == list(range(12))
    assert list(Draws(items, recipe, 3, 4, 1, 2)) == ranks[1][4:]
    seeds = [(draw.step, draw.slot) for rank in ranks for step in rank for draw in step]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("epoch=3", "NAME being one of accumulation"),
        ("epochs", "give NAME=VALUE"),
        ("epochs=many", "not a number"),
        ("epochs=0", "at least 1"),
        ("flip=2", "from 0 to 1"),
        ("precision=int8", "fp32 or bf16 or fp16"),
        ("checkpointing=yes", "true or false"),
        ("scales=0,1", "above 0"),
    ],
)
def test_a_setting_that_cannot_be_is_one_clear_error(assignment: str, complaint: str) -> None:
    with pytest.raises(rd.ReferDINOError, match=complaint):
        changed(RECIPE, [assignment])


def test_settings_replace_those_of_the_recipe() -> None:
    found = changed(RECIPE, ["epochs=3", "scales=0.5,1", "precision=bf16", "checkpointing=true"])
    assert (found.epochs, found.scales, found.precision) == (3, (0.5, 1.0), "bf16")
    assert found.checkpointing and found.weights == RECIPE.weights
