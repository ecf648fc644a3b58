# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets of a run: their shares, what is held back, what is read of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature_benchmarks import Scene, make_scenes
from miniature_training_sets import make_own_clips, make_refcoco, training_split

from referdino_core.building import build, tokenizer_of
from referdino_core.errors import ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks.catalogue import open_benchmark
from referdino_core.training.augmentation import ClipSample, pseudo_clip
from referdino_core.training.clip_samples import ClipSamples, Draw, read_sample
from referdino_core.training.data_sets import (
    DataSet,
    Mixture,
    TrainingData,
    folders_of,
    read_training_data,
)
from referdino_core.training.validation import read_validation_clip
from referdino_core.training.video_recipes import RECIPES, changed
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer, 4)


def silent(videos: Sequence[str], task: str) -> Iterator[str]:
    yield from videos


def opened(folder: Path, *texts: str, hold_back: int = 2) -> TrainingData:
    sets = [DataSet.parse(text) for text in texts]
    benchmarks = [open_benchmark(one.name, folder, one.split) for one in sets]
    return read_training_data(sets, benchmarks, hold_back, silent)


class TestNames:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("mevis", DataSet("mevis", "train", 1.0)),
            ("refcoco+:0.5", DataSet("refcoco+", "train", 0.5)),
            ("refcocog/val:2", DataSet("refcocog", "val", 2.0)),
        ],
    )
    def test_a_text_names_set_split_and_repetitions(self, text: str, expected: DataSet) -> None:
        assert DataSet.parse(text) == expected

    @pytest.mark.parametrize("text", ["coco", "mevis:", "mevis:0", "mevis:-1", "mevis/", "mevis:x"])
    def test_a_text_that_names_none_is_one_clear_error(self, text: str) -> None:
        with pytest.raises(ReferDINOError, match="is no data set; "):
            DataSet.parse(text)

    def test_sets_of_a_recipe_can_be_changed(self) -> None:
        found = changed(RECIPES["ytvos_swint"], ["sets=mevis/valid_u:0.5, refcoco"])
        assert found.data_sets == (DataSet("mevis", "valid_u", 0.5), DataSet("refcoco"))
        with pytest.raises(ReferDINOError, match="each only once"):
            changed(RECIPES["ytvos_swint"], ["sets=mevis,mevis:2"])

    def test_folders_are_given_for_all_sets_or_by_name(self, tmp_path: Path) -> None:
        sets = [DataSet("mevis"), DataSet("refcoco+")]
        assert folders_of(sets, ["data"]) == [Path("data")] * 2
        assert folders_of(sets, ["refcoco+=coco", "data"]) == [Path("data"), Path("coco")]
        with pytest.raises(ReferDINOError, match=r"--data mevis=DIR"):
            folders_of(sets, ["refcoco+=coco"])
        with pytest.raises(ReferDINOError, match="does not fit the recipe"):
            folders_of(sets, ["refcocog=coco", "data"])
        with pytest.raises(ReferDINOError, match="--data one two does not fit"):
            folders_of(sets, ["one", "two"])


class TestShares:
    def test_an_epoch_draws_every_set_as_often_as_it_says(self) -> None:
        mixture = Mixture((10, 4), (0.5, 2.5))
        assert mixture.draws == (5, 10)
        for number in range(5):
            counts = Counter(mixture.epoch(3, number).tolist())
            first, second = [counts[k] for k in range(10)], [counts[k] for k in range(10, 14)]
            assert sum(first) == 5 and max(first) == 1
            assert sum(second) == 10 and min(second) == 2 and max(second) == 3

    def test_epochs_differ_and_repeat_under_their_seed(self) -> None:
        mixture = Mixture((6, 6), (1.0, 1.0))
        orders = [mixture.epoch(seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
        assert len({tuple(order) for order in orders}) == 4
        assert mixture.epoch(1, 1).tolist() == orders[3]
        assert min(order.index(next(k for k in order if k > 5)) for order in orders) < 6

    def test_items_know_their_set(self) -> None:
        mixture = Mixture((10, 4), (1.0, 1.0))
        assert mixture.same_set(9) == range(10) and mixture.same_set(10) == range(10, 14)
        with pytest.raises(IndexError):
            mixture.same_set(14)


class TestReading:
    def test_several_sets_are_read_one_after_the_other(
        self, tmp_path: Path, scenes: list[Scene], caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in ("mevis", "refcoco"):
            training_split(tmp_path, name, scenes)
        caplog.set_level("INFO", "referdino.training")
        data = opened(tmp_path, "mevis", "refcoco:0.5")
        assert data.mixture == Mixture((6, 8), (1.0, 0.5))
        assert len(data.learnt) == 14 and data.learnt[6].clip.name.startswith("COCO")
        names = [item.clip.name for item in data.held_back]
        assert names[0].startswith("scene") and names[1].startswith("COCO")
        assert "refcoco: 8 sentences, 4 drawn in an epoch (40 %)." in caplog.text

    def test_an_image_that_one_set_holds_back_is_learnt_from_none(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        make_refcoco(tmp_path, scenes[:3], ("refcoco",))
        make_refcoco(tmp_path, scenes, ("refcoco+",))
        data = opened(tmp_path, "refcoco", "refcoco+", hold_back=4)
        learnt = {item.clip.name for item in data.learnt}
        held_back = {item.clip.name for item in data.held_back}
        assert len(held_back) == 2 and len(learnt) == 2 and not learnt & held_back

    def test_a_set_of_one_clip_cannot_be_held_back_from(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        make_own_clips(tmp_path, scenes[:1])
        with pytest.raises(SourceError, match="Own clips train has 1 videos; training needs two"):
            opened(tmp_path, "own-clips")

    def test_an_item_that_cannot_be_read_is_replaced_by_one_of_its_set(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        for name in ("own-clips", "refcoco"):
            training_split(tmp_path, name, scenes)
        data = opened(tmp_path, "own-clips", "refcoco")
        recipe = dataclasses.replace(RECIPES["own_nano"], scales=(1.0,))
        model = build("nano").configuration
        samples = ClipSamples(data, recipe, tokenizer_of(model), model.image_short_side)
        damaged = next(k for k, item in enumerate(data.learnt) if item.clip.name[:4] == "COCO")
        (tmp_path / "train2014" / f"{data.learnt[damaged].clip.name}.jpg").write_bytes(b"no image")
        clip = samples[Draw(damaged, seed=1, step=0, slot=0)]
        assert clip.name.startswith("COCO") and len(clip.pixels) == recipe.clip_frames
        assert len(clip.unreadable) >= 1 and "cannot be read" in clip.unreadable[0]
        again = samples[Draw(damaged, seed=1, step=0, slot=0)]
        assert torch.equal(again.pixels, clip.pixels) and again.unreadable == clip.unreadable

    def test_frames_are_drawn_among_the_annotated_ones(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        data = opened(make_own_clips(tmp_path, scenes), "own-clips")
        recipe = RECIPES["own_nano"]
        for number, item in enumerate(data.learnt):
            sample = read_sample(item, recipe, np.random.default_rng(number))
            scene = next(one for one in scenes if one.name == item.clip.name)
            wanted = scene.masks(item.expression.sentence)[::2]
            for mask in sample.masks:
                assert any(np.array_equal(mask, one) for one in wanted)
            images, masks = read_validation_clip(item)
            assert len(images) == 3 and np.array_equal(masks, wanted)


class TestPseudoClips:
    def sample(self) -> ClipSample:
        image = np.random.default_rng(0).integers(0, 256, (1, 60, 80, 3), dtype=np.uint8)
        mask = np.zeros((1, 60, 80), bool)
        mask[:, 20:40, 30:50] = True
        image[mask] = (250, 10, 10)
        return ClipSample("image", image, mask, "the red square")

    def test_one_frame_is_the_image_and_the_others_have_moved(self) -> None:
        places = set()
        for seed in range(20):
            clip = pseudo_clip(self.sample(), 6, np.random.default_rng(seed))
            assert clip.images.shape == (6, 60, 80, 3) and clip.masks.shape == (6, 60, 80)
            same = [np.array_equal(image, self.sample().images[0]) for image in clip.images]
            assert sum(same) == 1
            places.add(same.index(True))
            assert len({image.tobytes() for image in clip.images}) == 6
        assert len(places) > 3

    def test_masks_move_with_their_images(self) -> None:
        for seed in range(20):
            clip = pseudo_clip(self.sample(), 6, np.random.default_rng(seed))
            for image, mask in zip(clip.images, clip.masks, strict=True):
                inside, outside = image[mask].mean(0), image[~mask].mean(0)
                assert mask.any() and inside[0] - inside[1] > 120 > abs(outside[0] - outside[1])

    def test_they_repeat_under_their_seed(self) -> None:
        first, second = (pseudo_clip(self.sample(), 4, np.random.default_rng(7)) for _ in range(2))
        assert np.array_equal(first.images, second.images)
        assert np.array_equal(first.masks, second.masks)

    def test_one_annotated_frame_becomes_a_clip(self, tmp_path: Path, scenes: list[Scene]) -> None:
        data = opened(make_refcoco(tmp_path, scenes), "refcoco+")
        recipe = RECIPES["joint_swint"]
        sample = read_sample(data.learnt[0], recipe, np.random.default_rng(0))
        assert len(sample.images) == 6 and len({mask.tobytes() for mask in sample.masks}) == 6
        single = RECIPES["coco_swint"]
        assert len(read_sample(data.learnt[0], single, np.random.default_rng(0)).images) == 1
