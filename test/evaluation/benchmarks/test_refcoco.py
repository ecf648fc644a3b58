# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The reader of RefCOCO, RefCOCO+ and RefCOCOg, on miniatures in exactly their format."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from miniature_benchmarks import Scene, make_scenes
from miniature_predictions import Oracle, evaluate
from miniature_training_sets import IMAGE_ID, make_refcoco, python_2_pickle

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.benchmarks.catalogue import open_benchmark
from referdino_core.evaluation.benchmarks.refcoco import decode_outline, read_plain_pickle
from referdino_core.world import WorldRenderer

FIRST = f"COCO_train2014_{IMAGE_ID:012d}"


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


@pytest.mark.parametrize("name", ["refcoco", "refcoco+", "refcocog"])
def test_an_image_is_a_clip_with_the_sentences_of_all_its_objects(
    tmp_path: Path, scenes: list[Scene], name: str
) -> None:
    benchmark = open_benchmark(name, make_refcoco(tmp_path, scenes), "train")
    assert len(benchmark.videos) == 2 and benchmark.videos[0] == FIRST
    (clip,) = benchmark.clips(FIRST)
    assert len(clip.questions) == 4 and clip.frame_names == (FIRST,)
    first, second = clip.questions[0].expressions[0], clip.questions[2].expressions[0]
    assert first.sentence == scenes[0].sentences[0][0]
    assert second.sentence == scenes[0].sentences[1][0]
    (image,) = clip.open_images()
    assert isinstance(image, np.ndarray)
    assert np.abs(image.astype(int) - scenes[0].frames[0]).mean() < 8
    truth = clip.truth_at(0)
    assert truth is not None and truth.size == scenes[0].labels[0].shape
    # Polygons lose half a pixel at the border; run lengths are exact.
    polygon, exact = (truth.of(one.objects) for one in (first, second))
    wanted = scenes[0].labels[0] == 1
    assert (polygon & wanted).sum() / (polygon | wanted).sum() > 0.8
    assert np.array_equal(exact, scenes[0].labels[0] == 2)


def test_a_split_that_is_not_there_names_those_that_are(
    tmp_path: Path, scenes: list[Scene]
) -> None:
    root = make_refcoco(tmp_path, scenes)
    with pytest.raises(SourceError, match=r"refs\(unc\)\.p has no split val; there are: train"):
        open_benchmark("refcoco", root)


def test_perfect_masks_score_one(tmp_path: Path, scenes: list[Scene]) -> None:
    root = make_refcoco(tmp_path / "data", scenes, ("refcoco+",), split="val")
    for path in root.glob("*/instances.json"):  # polygons are not exact
        content = json.loads(path.read_text())
        exact = [one for one in content["annotations"] if isinstance(one["segmentation"], dict)]
        path.write_text(json.dumps(content | {"annotations": exact}))
    names = [f"COCO_train2014_{IMAGE_ID + number:012d}" for number in range(2)]
    named = [replace(scene, name=name) for scene, name in zip(scenes, names, strict=True)]
    summary = evaluate("refcoco+", root, tmp_path / "out", Oracle(named))
    assert summary["scores"]["overall_iou"] == 1.0
    assert summary["expressions"] == 4 and summary["expressions_passed_over"] == 2


class TestPickles:
    def test_those_of_python_2_and_3_hold_the_same(self, tmp_path: Path) -> None:
        content = [{"sent": "the lady's hat", "sent_ids": [0, 1], "ann_id": 5}]
        for number, data in enumerate(
            [python_2_pickle(content), *(pickle.dumps(content, protocol) for protocol in range(6))]
        ):
            path = tmp_path / f"refs{number}.p"
            path.write_bytes(data)
            assert read_plain_pickle(path) == content

    @pytest.mark.parametrize(
        "data",
        [
            b"cos\nsystem\n(S'touch MARK'\ntR.",
            b"(S'touch MARK'\nios\nsystem\n.",
            b"\x80\x02cposix\nsystem\nX\x0a\x00\x00\x00touch MARK\x85R.",
            b"Psomewhere\n.",
            pickle.dumps(OrderedDict(a=1)),
            pickle.dumps(np.arange(3)),
            pickle.dumps([print]),
        ],
    )
    def test_those_that_call_anything_are_refused_and_call_nothing(
        self, tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        path = tmp_path / "refs(unc).p"
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"refs\(unc\)\.p is refused: it (would|refers)"):
            read_plain_pickle(path)
        assert not (tmp_path / "MARK").exists()

    @pytest.mark.parametrize("data", [b"", b"(lp1\n(dp2", b"no pickle", b"\x80\x04\x95"])
    def test_damaged_ones_are_one_clear_error(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "refs(unc).p"
        path.write_bytes(data)
        with pytest.raises(SourceError, match="is refused"):
            read_plain_pickle(path)


class TestDamage:
    def test_missing_files_are_named(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_refcoco(tmp_path, scenes)
        (root / "train2014").rename(root / "elsewhere")
        with pytest.raises(SourceError, match="train2014 does not exist"):
            open_benchmark("refcoco", root, "train")
        (root / "refcoco" / "refs(unc).p").unlink()
        with pytest.raises(SourceError, match=r"holds no refs\(unc\)\.p"):
            open_benchmark("refcoco", root, "train")

    def test_what_cannot_be_used_is_left_out_and_named(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_refcoco(tmp_path, scenes)
        path = root / "refcoco" / "refs(unc).p"
        references = read_plain_pickle(path)
        del references[0]["sentences"]
        references[1]["ann_id"] = 5
        references[2]["image_id"] = "none"
        path.write_bytes(pickle.dumps(references))
        benchmark = open_benchmark("refcoco", root, "train")
        clips = [clip for video in benchmark.videos for clip in benchmark.clips(video)]
        counts = [len(clip.questions) for clip in clips]
        assert counts == [0, 2]
        found = "\n".join(benchmark.expressions_skipped)
        assert "names no image" in found and "is damaged" in found and "no annotation 5" in found

    @pytest.mark.parametrize("outline", [[], [[1, 2, 3, 4]], [["a"] * 6], 7, {"counts": [4]}, None])
    def test_an_outline_that_is_none_is_an_error(self, outline: object) -> None:
        with pytest.raises(ImageError):
            decode_outline(outline, 4, 6)
