# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Readers of the published benchmarks, on miniatures in exactly their formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from miniature_benchmarks import (
    Scene,
    frame_names,
    make_a2d_sentences,
    make_jhmdb_sentences,
    make_mevis,
    make_ref_davis17,
    make_ref_youtube_vos,
    make_scenes,
    write_meta_expressions,
)
from miniature_files import write_frames
from numpy.testing import assert_array_equal

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.benchmarks.catalogue import open_benchmark
from referdino_core.evaluation.benchmarks.clips import Benchmark, Clip
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


def only_clip(benchmark: Benchmark, video: str) -> Clip:
    (clip,) = benchmark.clips(video)
    return clip


def shown(clip: Clip) -> np.ndarray:
    images = list(clip.open_images())
    assert all(isinstance(image, np.ndarray) for image in images)
    return np.stack(images)


class TestRefYouTubeVOS:
    def test_the_validation_set_is_valid_without_the_test_videos(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        benchmark = open_benchmark("ref-youtube-vos", make_ref_youtube_vos(tmp_path, scenes))
        assert benchmark.videos == ("scene0", "scene1")
        assert benchmark.problems == []
        clip = only_clip(benchmark, "scene1")
        assert clip.frame_names == tuple(frame_names(scenes[1]))
        assert [question.name for question in clip.questions] == ["0", "1"]
        assert clip.questions[1].expressions[0].sentence == scenes[1].sentences[1][0]
        assert np.abs(shown(clip).astype(int) - scenes[1].frames).mean() < 8
        assert clip.truth_at(0) is None

    def test_without_the_test_expressions_it_says_what_that_means(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_ref_youtube_vos(tmp_path, scenes)
        shutil.rmtree(root / "meta_expressions/test")
        benchmark = open_benchmark("ref-youtube-vos", root)
        assert "tested" in benchmark.videos
        assert "test set" in benchmark.problems[0]
        with pytest.raises(SourceError, match=r"tested is annotated, but .*tested does not exist"):
            only_clip(benchmark, "tested")

    def test_annotations_that_are_there_are_the_truth(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_ref_youtube_vos(tmp_path, scenes, annotated=True)
        (root / "valid/Annotations/scene0/00005.png").unlink()
        clip = only_clip(open_benchmark("ref-youtube-vos", root), "scene0")
        truth = clip.truth_at(2)
        assert truth is not None
        for question in clip.questions:
            (expression,) = question.expressions
            assert_array_equal(
                truth.of(expression.objects), scenes[0].masks(expression.sentence)[2]
            )
        assert clip.truth_at(1) is None


class TestRefDAVIS17:
    def test_a_question_holds_one_annotators_sentences_about_all_objects(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        benchmark = open_benchmark("ref-davis17", make_ref_davis17(tmp_path, scenes))
        clip = only_clip(benchmark, "scene0")
        assert [question.name for question in clip.questions] == [f"anno_{k}" for k in range(4)]
        for annotator, question in enumerate(clip.questions):
            assert [e.objects for e in question.expressions] == [(1,), (2,)]
            assert [e.sentence for e in question.expressions] == [
                own[annotator] for own in scenes[0].sentences
            ]
        for index in range(len(clip.frame_names)):
            truth = clip.truth_at(index)
            assert truth is not None
            for number in (1, 2):
                assert_array_equal(truth.of((number,)), scenes[0].labels[index] == number)

    def test_an_ignore_label_is_skipped_and_a_missing_one_is_an_error(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        scene = scenes[0]
        voided = scene.labels.copy()
        voided[:, :10] = 255
        root = make_ref_davis17(
            tmp_path, [Scene(scene.name, scene.frames, voided, scene.sentences)]
        )
        (root / "valid/Annotations/scene0/00010.png").unlink()
        clip = only_clip(open_benchmark("ref-davis17", root), "scene0")
        truth = clip.truth_at(0)
        assert truth is not None and truth.ignored is not None
        assert_array_equal(truth.ignored, voided[0] == 255)
        assert 255 not in truth.masks
        with pytest.raises(ImageError, match=r"00010\.png"):
            clip.truth_at(2)

    def test_a_lost_expression_is_named(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_ref_davis17(tmp_path, scenes)
        path = root / "meta_expressions/valid/meta_expressions.json"
        videos = json.loads(path.read_text())["videos"]
        del videos["scene0"]["expressions"]["7"]
        write_meta_expressions(path, videos)
        with pytest.raises(SourceError, match="scene0: its 7 expressions are not 4 per object"):
            only_clip(open_benchmark("ref-davis17", root), "scene0")


class TestMeViS:
    def test_a_sentence_may_mean_several_objects(self, tmp_path: Path, scenes: list[Scene]) -> None:
        hidden = scenes[1].labels.copy()
        hidden[3][hidden[3] == 2] = 0
        made = [
            scenes[0],
            Scene(scenes[1].name, scenes[1].frames, hidden, scenes[1].sentences),
        ]
        benchmark = open_benchmark("mevis", make_mevis(tmp_path, made))
        assert benchmark.split == "valid_u"
        for scene in made:
            clip = only_clip(benchmark, scene.name)
            assert len(clip.questions) == 3
            for index, labels in enumerate(scene.labels):
                truth = clip.truth_at(index)
                assert truth is not None
                *single, both = [q.expressions[0].objects for q in clip.questions]
                for number, objects in enumerate(single, start=1):
                    assert_array_equal(truth.of(objects), labels == number)
                assert_array_equal(truth.of(both), labels > 0)

    def test_the_server_split_has_no_truth(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_mevis(tmp_path, scenes)
        (root / "valid_u").rename(root / "valid")
        (root / "valid" / "mask_dict.json").unlink()
        benchmark = open_benchmark("mevis", root)
        assert benchmark.split == "valid"
        assert benchmark.problems == []
        assert only_clip(benchmark, "scene0").truth_at(0) is None

    def test_expressions_and_frames_without_masks_are_named(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_mevis(tmp_path, scenes)
        path = root / "valid_u" / "mask_dict.json"
        masks = json.loads(path.read_text())
        del masks["1"]
        masks["0"] = masks["0"][:2]
        path.write_text(json.dumps(masks))
        benchmark = open_benchmark("mevis", root)
        clip = only_clip(benchmark, "scene0")
        assert [question.name for question in clip.questions] == ["0"]
        lines = benchmark.expressions_skipped
        assert len(lines) == 2
        assert all("mask_dict.json has no object 1" in line for line in lines)
        assert clip.truth_at(1) is not None
        with pytest.raises(SourceError, match=r"mask_dict\.json has no mask of object 0"):
            clip.truth_at(2)

    def test_damaged_ids_and_masks_are_named(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_mevis(tmp_path, scenes)
        path = root / "valid_u" / "meta_expressions.json"
        videos = json.loads(path.read_text())["videos"]
        videos["scene0"]["expressions"]["0"]["anno_id"] = 7
        videos["scene0"]["expressions"]["1"]["anno_id"] = ["one"]
        write_meta_expressions(path, videos)
        path = root / "valid_u" / "mask_dict.json"
        masks = json.loads(path.read_text())
        masks["0"][0]["counts"] = masks["0"][0]["counts"][:-2]
        masks["1"] = 3
        path.write_text(json.dumps(masks))
        benchmark = open_benchmark("mevis", root)
        clip = only_clip(benchmark, "scene0")
        assert [question.name for question in clip.questions] == ["2"]
        lines = benchmark.expressions_skipped
        assert ["expression 0" in line for line in lines] == [True, False]
        with pytest.raises(ImageError):
            clip.truth_at(0)
        with pytest.raises(SourceError, match="no mask of object 1"):
            clip.truth_at(1)


class TestA2DSentences:
    @pytest.fixture
    def root(self, tmp_path: Path, scenes: list[Scene]) -> Path:
        pytest.importorskip("h5py")
        return make_a2d_sentences(tmp_path, scenes)

    def test_a_clip_leads_up_to_an_annotated_frame(self, root: Path, scenes: list[Scene]) -> None:
        benchmark = open_benchmark("a2d-sentences", root)
        assert benchmark.videos == ("scene0", "scene1")
        early, late = benchmark.clips("scene1")
        assert (early.name, late.name) == ("scene1_00002", "scene1_00004")
        assert [int(name) for name in early.frame_names] == [1, 2]
        assert [int(name) for name in late.frame_names] == [1, 2, 3, 4]
        assert early.frame_rate == pytest.approx(10.0)
        truth = early.truth_at(1)
        assert early.only_frame == 1 and truth is not None
        for question in early.questions:
            (expression,) = question.expressions
            assert_array_equal(
                truth.of(expression.objects), scenes[1].masks(expression.sentence)[1]
            )
        assert early.truth_at(0) is None
        assert np.abs(shown(early).astype(int) - scenes[1].frames[:2]).mean() < 12

    def test_an_instance_that_a_frame_does_not_show_is_left_out(
        self, root: Path, scenes: list[Scene]
    ) -> None:
        early, late = open_benchmark("a2d-sentences", root).clips("scene0")
        assert [question.name for question in early.questions] == ["1", "2"]
        assert [question.name for question in late.questions] == ["1"]
        truth = late.truth_at(3)
        assert truth is not None
        assert_array_equal(truth.of((1,)), scenes[0].labels[3] == 1)

    def test_a_folder_of_frames_stands_in_for_a_video(
        self, root: Path, scenes: list[Scene]
    ) -> None:
        (root / "Release/clips320H/scene0.mp4").unlink()
        folder = root / "Release/clips320H/scene0"
        write_frames(folder, scenes[0].frames, [f"{k}.png" for k in range(1, 6)])
        early, _ = open_benchmark("a2d-sentences", root).clips("scene0")
        assert_array_equal(shown(early), scenes[0].frames[:2])

    def test_what_is_damaged_is_named(self, root: Path) -> None:
        masks = root / "text_annotations/a2d_annotation_with_instances"
        (masks / "scene0" / "00002.h5").write_bytes(b"no HDF5")
        (masks / "scene0" / "00004.h5").rename(masks / "scene0" / "00009.h5")
        (root / "Release/clips320H/scene1.mp4").unlink()
        with (root / "text_annotations/a2d_annotation.txt").open("a") as file:
            file.write("scene0,1 (copy),a dog\n")
        benchmark = open_benchmark("a2d-sentences", root)
        assert list(benchmark.clips("scene0")) == []
        with pytest.raises(SourceError, match=r"scene1 is annotated, but .* does not exist"):
            list(benchmark.clips("scene1"))
        (copy,) = benchmark.expressions_skipped
        damaged, beyond = benchmark.clips_skipped
        assert "scene0,1 (copy),a dog" in copy
        assert "00002.h5 is damaged" in damaged
        assert "00009.h5 is annotated, but there are 5 frames" in beyond


class TestJHMDBSentences:
    def test_the_published_samples_are_evaluated(self, tmp_path: Path, scenes: list[Scene]) -> None:
        benchmark = open_benchmark("jhmdb-sentences", make_jhmdb_sentences(tmp_path, scenes))
        assert benchmark.problems == []
        first, third = benchmark.clips("scene1")
        assert (first.name, third.name) == ("scene1_00001", "scene1_00003")
        assert [int(name) for name in first.frame_names] == [1]
        assert [int(name) for name in third.frame_names] == [1, 2, 3]
        truth = third.truth_at(2)
        assert truth is not None
        assert_array_equal(truth.of((1,)), scenes[1].labels[2] == 1)
        assert_array_equal(shown(third), scenes[1].frames[:3])
        assert third.questions[0].expressions[0].sentence == scenes[1].sentences[0][0]

    def test_without_them_frames_are_spread_evenly_and_it_says_so(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_jhmdb_sentences(tmp_path, scenes, samples=False)
        benchmark = open_benchmark("jhmdb-sentences", root)
        assert "not those of the published results" in benchmark.problems[0]
        judged = [clip.name for clip in benchmark.clips("scene0")]
        assert judged == ["scene0_00001", "scene0_00003", "scene0_00004"]

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda root: shutil.rmtree(root / "Rename_Images/catch/scene0"), "Rename_Images"),
            (lambda root: shutil.rmtree(root / "puppet_mask/catch/scene0"), "puppet_mask"),
            (
                lambda root: (root / "puppet_mask/catch/scene0/puppet_mask.mat").write_bytes(
                    b"none at all" * 20
                ),
                "puppet_mask.mat is damaged",
            ),
        ],
    )
    def test_what_is_missing_or_damaged_is_named(
        self, tmp_path: Path, scenes: list[Scene], damage: Callable[[Path], None], reason: str
    ) -> None:
        root = make_jhmdb_sentences(tmp_path, scenes)
        damage(root)
        benchmark = open_benchmark("jhmdb-sentences", root)
        with pytest.raises(SourceError, match=reason):
            list(benchmark.clips("scene0"))
        assert len(list(benchmark.clips("scene1"))) == 2


@pytest.mark.parametrize(
    "name", ["ref-youtube-vos", "ref-davis17", "mevis", "a2d-sentences", "jhmdb-sentences"]
)
def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path, name: str) -> None:
    if name == "a2d-sentences":
        pytest.importorskip("h5py")
    with pytest.raises(SourceError, match="does not exist"):
        open_benchmark(name, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"videos": {}}', '{"videos": 3}'])
def test_damaged_expressions_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "valid_u").mkdir()
    (tmp_path / "valid_u" / "meta_expressions.json").write_text(content)
    with pytest.raises(SourceError, match=r"meta_expressions\.json"):
        open_benchmark("mevis", tmp_path)
