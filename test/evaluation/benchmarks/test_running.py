# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of miniature benchmarks with answers that are known: scores, resumption, damage."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from miniature_answers import Confused, Oracle
from miniature_benchmarks import (
    Scene,
    frame_names,
    make_a2d_sentences,
    make_jhmdb_sentences,
    make_mevis,
    make_ref_davis17,
    make_ref_youtube_vos,
    make_scenes,
    run_length,
)
from numpy.testing import assert_array_equal

from referdino_core.evaluation.benchmarks import BENCHMARK_NAMES
from referdino_core.evaluation.benchmarks.answers import Answer, ReadFrames
from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS, open_benchmark
from referdino_core.evaluation.benchmarks.protocols import compete
from referdino_core.evaluation.benchmarks.records import RecordStore, write_submission
from referdino_core.evaluation.benchmarks.running import BenchmarkRun
from referdino_core.evaluation.benchmarks.summary import COUNTS, summarise_run, table
from referdino_core.world import WorldRenderer

SETTINGS = {"model": "known answers"}


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


def open_run(
    name: str,
    root: Path,
    out: Path,
    oracle: Oracle,
    stopped: Callable[[], bool] = lambda: False,
    settings: dict[str, Any] = SETTINGS,
) -> BenchmarkRun:
    benchmark = open_benchmark(name, root)
    return BenchmarkRun(
        benchmark, BENCHMARKS[name].protocol, oracle, RecordStore(out, settings), stopped
    )


def evaluate(name: str, root: Path, out: Path, oracle: Oracle) -> dict[str, Any]:
    run = open_run(name, root, out, oracle)
    run.answer(open_benchmark(name, root).videos)
    return summarise_run(run, BENCHMARKS[name].protocol)


def test_the_command_line_knows_every_benchmark() -> None:
    assert tuple(BENCHMARKS) == BENCHMARK_NAMES


class TestScores:
    @pytest.mark.parametrize(
        ("name", "make", "tracks"),
        [
            (
                "ref-youtube-vos",
                lambda root, scenes: make_ref_youtube_vos(root, scenes, annotated=True),
                4,
            ),
            ("ref-davis17", make_ref_davis17, 16),
            ("mevis", make_mevis, 6),
        ],
    )
    def test_perfect_masks_score_one_and_confused_ones_do_not(
        self,
        tmp_path: Path,
        scenes: list[Scene],
        name: str,
        make: Callable[[Path, list[Scene]], Path],
        tracks: int,
    ) -> None:
        root = make(tmp_path / "data", scenes)
        perfect = evaluate(name, root, tmp_path / "perfect", Oracle(scenes))
        assert perfect["complete"] and perfect["problems"] == []
        assert (perfect["clips"], perfect["frames"], perfect["frames_unread"]) == (2, 10, 0)
        scores = perfect["scores"]
        assert scores["tracks"] == tracks
        assert scores["region"] == {"mean": 1.0, "recall": 1.0, "decay": 0.0}
        assert scores["boundary"] == {"mean": 1.0, "recall": 1.0, "decay": 0.0}
        assert scores["region_and_boundary"] == 1.0
        confused = evaluate(name, root, tmp_path / "confused", Confused(scenes))["scores"]
        confused = confused.get("named", confused)
        assert confused["region"]["mean"] < 0.01
        assert confused["region_and_boundary"] < 0.3

    def test_davis_assigns_objects_but_names_tell_them_apart(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_ref_davis17(tmp_path / "data", scenes)
        scores = evaluate("ref-davis17", root, tmp_path / "out", Confused(scenes))["scores"]
        assert scores["region_and_boundary"] == 1.0
        assert scores["named"]["region"]["mean"] == 0.0
        assert sorted(scores["annotators"]) == [f"anno_{k}" for k in range(4)]

    @pytest.mark.parametrize(
        ("name", "make", "samples"),
        [("a2d-sentences", make_a2d_sentences, 6), ("jhmdb-sentences", make_jhmdb_sentences, 4)],
    )
    def test_perfect_frames_score_one_and_confused_ones_do_not(
        self,
        tmp_path: Path,
        scenes: list[Scene],
        name: str,
        make: Callable[[Path, list[Scene]], Path],
        samples: int,
    ) -> None:
        if name == "a2d-sentences":
            pytest.importorskip("h5py")
        root = make(tmp_path / "data", scenes)
        perfect = evaluate(name, root, tmp_path / "perfect", Oracle(scenes))
        scores = perfect["scores"]
        assert perfect["problems"] == []
        assert scores["samples"] == samples
        assert scores["mean_average_precision"] == pytest.approx(1.0)
        assert scores["mean_average_precision_of_all"] == pytest.approx(1.0)
        assert scores["overall_iou"] == scores["mean_iou"] == 1.0
        assert set(scores["precision"].values()) == {1.0}
        confused = evaluate(name, root, tmp_path / "confused", Confused(scenes))
        assert confused["scores"]["mean_iou"] == 0.0
        assert confused["scores"]["mean_average_precision"] == 0.0

    def test_without_truth_there_are_no_scores(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_ref_youtube_vos(tmp_path / "data", scenes)
        summary = evaluate("ref-youtube-vos", root, tmp_path / "out", Oracle(scenes))
        assert summary["scores"] is None and summary["expressions"] == 4
        assert "none here" in table("Ref-YouTube-VOS valid", {"whole-clip": summary})

    def test_objects_compete_for_a_pixel_with_the_background(self) -> None:
        probabilities = np.array([[[0.9, 0.6, 0.4, 0.0, 0.5]], [[0.7, 0.8, 0.3, 0.0, 0.5]]])
        assert compete(probabilities).tolist() == [[1, 2, 0, 0, 1]]

    def test_the_table_tells_the_price_of_causality(self) -> None:
        def summary(value: float) -> dict[str, Any]:
            counts = dict.fromkeys((key for _, key in COUNTS), 3)
            return {**counts, "scores": {"region_and_boundary": value}}

        lines = table("MeViS", {"whole-clip": summary(0.48), "stream": summary(0.4412)})
        assert "| J&F | 48.0 | 44.1 | +3.9 |" in lines.splitlines()


class TestFrames:
    def test_a_sample_whose_judged_frame_is_lost_counts_as_an_empty_answer(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_jhmdb_sentences(tmp_path / "data", scenes[:1])
        (root / "Rename_Images/catch/scene0/00003.png").write_bytes(b"no PNG")
        for _ in range(2):  # the second time from the records
            summary = evaluate("jhmdb-sentences", root, tmp_path / "out", Oracle(scenes))
            assert (summary["clips"], summary["clips_passed_over"]) == (2, 0)
            assert (summary["frames_scored"], summary["frames_scored_unread"]) == (2, 1)
            assert "scene0_00003, frame 00003 is not answered" in summary["problems"][0]
            assert summary["problems"][1] == (
                "scene0_00003 has an empty answer: no frame that counts can be read."
            )
            scores = summary["scores"]
            assert (scores["samples"], scores["mean_iou"]) == (2, 0.5)
            areas = [(scenes[0].labels[place] == 1).sum() for place in (0, 2)]
            assert scores["overall_iou"] == pytest.approx(areas[0] / sum(areas))
            assert scores["precision"]["0.5"] == 0.5

    def test_a_clip_without_images_and_without_truth_is_passed_over(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_ref_youtube_vos(tmp_path / "data", scenes)
        for image in (root / "valid/JPEGImages/scene0").iterdir():
            image.write_bytes(b"no JPEG")
        summary = evaluate("ref-youtube-vos", root, tmp_path / "out", Oracle(scenes))
        assert (summary["clips"], summary["clips_passed_over"]) == (1, 1)
        assert "scene0 is passed over: no frame that counts can be read." in summary["problems"]

    def test_streams_without_an_answer_score_nothing(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        class Silent(Oracle):
            def segment(self, frames: ReadFrames, sentences: list[str]) -> list[Answer]:
                answers = list(super().segment(frames, sentences))
                for answer in answers:
                    answer.candidates = list
                return answers

        root = make_jhmdb_sentences(tmp_path / "data", scenes)
        scores = evaluate("jhmdb-sentences", root, tmp_path / "out", Silent(scenes))["scores"]
        assert scores["mean_iou"] == scores["mean_average_precision"] == 0.0
        assert scores["mean_average_precision_of_all"] is None


class TestSubmission:
    def test_the_zip_holds_a_black_and_white_png_per_expression_and_frame(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_ref_youtube_vos(tmp_path / "data", scenes)
        (root / "valid/JPEGImages/scene0/00010.jpg").unlink()
        run = open_run("ref-youtube-vos", root, tmp_path / "records", Oracle(scenes))
        run.answer(["scene0"])
        archive = write_submission(run.records(), tmp_path / "out", "Annotations")
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
            assert sorted(names) == [
                f"Annotations/scene0/{expression}/{frame}.png"
                for expression in "01"
                for frame in frame_names(scenes[0])
            ]
            for name in names:
                assert file.read(name) == (tmp_path / "out" / name).read_bytes()
        for place, frame in enumerate(frame_names(scenes[0])):
            path = tmp_path / f"out/Annotations/scene0/1/{frame}.png"
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            expected = (scenes[0].labels[place] == 2) & (frame != "00010")
            assert_array_equal(image, np.where(expected, 255, 0))


class TestResumption:
    def test_a_stopped_run_goes_on_where_it_was(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_mevis(tmp_path / "data", scenes)
        oracle = Oracle(scenes)
        oracle.sentences_at_once = 2
        stopped = open_run("mevis", root, tmp_path / "out", oracle, lambda: len(oracle.asked) >= 2)
        outcome = stopped.answer(["scene0", "scene1"])
        assert not outcome.complete
        assert outcome.keys == [("scene0", "0"), ("scene0", "1")]
        again = Oracle(scenes)
        resumed = open_run("mevis", root, tmp_path / "out", again)
        assert resumed.answer(["scene0", "scene1"]).complete
        assert len(again.asked) == 4
        assert not set(oracle.asked) & set(again.asked[:1])
        whole = open_run("mevis", root, tmp_path / "other", Oracle(scenes))
        whole.answer(["scene0", "scene1"])
        assert list(resumed.records()) == list(whole.records())

    @pytest.mark.parametrize("damaged", [False, True])
    def test_records_of_other_settings_and_damaged_ones_are_made_anew(
        self, tmp_path: Path, scenes: list[Scene], damaged: bool
    ) -> None:
        root = make_mevis(tmp_path / "data", scenes)
        open_run("mevis", root, tmp_path / "out", Oracle(scenes)).answer(["scene0"])
        if damaged:
            path = tmp_path / "out/scene0/1.json"
            path.write_bytes(path.read_bytes()[:100])
        again = Oracle(scenes)
        settings = SETTINGS if damaged else {"model": "another"}
        run = open_run("mevis", root, tmp_path / "out", again, settings=settings)
        run.answer(["scene0"])
        assert len(again.asked) == (1 if damaged else 3)
        assert all(record.scores for record in run.records())


class TestDamage:
    def test_damaged_frames_are_named_and_counted_and_scored_as_empty_answers(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_ref_davis17(tmp_path / "data", scenes)
        images, labels = root / "valid/JPEGImages/scene0", root / "valid/Annotations/scene0"
        (images / "00005.jpg").unlink()
        large = cv2.resize(cv2.imread(str(images / "00010.jpg")), (200, 150))
        cv2.imwrite(str(images / "00010.jpg"), large)
        whole = (images / "00015.jpg").read_bytes()
        (images / "00015.jpg").write_bytes(whole[: len(whole) // 2])
        (labels / "00020.png").write_bytes(b"no PNG")
        for _ in range(2):  # the second time from the records
            summary = evaluate("ref-davis17", root, tmp_path / "out", Oracle(scenes))
            assert (summary["frames"], summary["frames_unread"]) == (10, 3)
            assert (summary["frames_scored"], summary["frames_scored_unread"]) == (9, 3)
            # One of scene0's four judged frames is right, and all five of scene1's.
            assert summary["scores"]["region"]["mean"] == pytest.approx((1 / 4 + 1) / 2)
            assert summary["scores"]["region_and_boundary"] == pytest.approx((1 / 4 + 1) / 2)
            assert len(summary["problems"]) == 4
            for line, parts in zip(
                summary["problems"],
                [
                    ("scene0, frame 00005 is not answered", "No such file"),
                    ("scene0, frame 00010 is not answered", "it is 200x150, not 160x120"),
                    ("scene0, frame 00015 is not answered", "cut off"),
                    ("scene0, frame 00020 is not scored", "00020.png"),
                ],
                strict=True,
            ):
                assert all(part in line for part in parts), line

    @pytest.mark.parametrize(
        ("name", "make"),
        [
            ("mevis", make_mevis),
            ("ref-davis17", make_ref_davis17),
            (
                "ref-youtube-vos",
                lambda root, scenes: make_ref_youtube_vos(root, scenes, annotated=True),
            ),
        ],
    )
    def test_an_unread_frame_scores_nothing_where_the_target_is_present_and_one_where_it_is_not(
        self,
        tmp_path: Path,
        scenes: list[Scene],
        name: str,
        make: Callable[[Path, list[Scene]], Path],
    ) -> None:
        labels = scenes[0].labels.copy()
        labels[3][labels[3] == 1] = 0
        scene = Scene("scene0", scenes[0].frames, labels, scenes[0].sentences)
        root = make(tmp_path / "data", [scene])
        for frame in ("00010", "00015"):
            (next(root.glob("valid*")) / f"JPEGImages/scene0/{frame}.jpg").unlink()
        summary = evaluate(name, root, tmp_path / "out", Oracle([scene]))
        assert (summary["frames_scored"], summary["frames_scored_unread"]) == (5, 2)
        # Of five frames the first object's sentences score 0 in one, all others in two.
        shares = {"mevis": [4, 3, 3], "ref-davis17": [4, 3], "ref-youtube-vos": [4, 3]}[name]
        assert summary["scores"]["region"]["mean"] == pytest.approx(np.mean(shares) / 5)
        assert summary["scores"]["boundary"]["mean"] == pytest.approx(np.mean(shares) / 5)

    def test_a_clip_of_which_no_image_can_be_read_counts_as_empty_answers(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_mevis(tmp_path / "data", scenes)
        for image in (root / "valid_u/JPEGImages/scene0").iterdir():
            image.write_bytes(b"no JPEG")
        run = open_run("mevis", root, tmp_path / "records", Oracle(scenes))
        run.answer(["scene0", "scene1"])
        summary = summarise_run(run, BENCHMARKS["mevis"].protocol)
        assert (summary["clips"], summary["clips_scored"], summary["clips_passed_over"]) == (
            2,
            2,
            0,
        )
        assert summary["scores"]["region_and_boundary"] == pytest.approx(0.5)
        assert (
            "scene0 has an empty answer: no frame that counts can be read." in summary["problems"]
        )
        write_submission(run.records(), tmp_path / "out", "")
        image = cv2.imread(str(tmp_path / "out/Annotations/scene0/0/00000.png"), 0)
        assert image.shape == scenes[0].labels.shape[1:] and not image.any()

    def test_truth_of_another_size_is_not_scored(self, tmp_path: Path, scenes: list[Scene]) -> None:
        small = Scene("scene0", scenes[0].frames, scenes[0].labels[:, :60], scenes[0].sentences)
        root = make_ref_davis17(tmp_path / "data", [small])
        summary = evaluate("ref-davis17", root, tmp_path / "out", Oracle(scenes))
        assert summary["scores"] is None
        assert (summary["clips"], summary["clips_scored"], summary["frames_scored"]) == (1, 0, 0)
        assert (summary["expressions"], summary["expressions_scored"]) == (8, 0)
        assert len(summary["problems"]) == 5
        assert "its truth is 160x60, the image 160x120" in summary["problems"][0]

    @pytest.mark.parametrize("size", [(1, 1), (60, 160)])
    def test_a_mask_of_another_size_is_named_and_its_frame_is_not_judged(
        self, tmp_path: Path, scenes: list[Scene], size: tuple[int, int]
    ) -> None:
        root = make_mevis(tmp_path / "data", scenes[:1])
        path = root / "valid_u/mask_dict.json"
        masks = json.loads(path.read_text())
        masks["0"][2] = run_length(np.ones(size, bool))
        path.write_text(json.dumps(masks))
        summary = evaluate("mevis", root, tmp_path / "out", Oracle(scenes))
        (problem,) = summary["problems"]
        assert "scene0, frame 00010 is not scored: the mask of object 0 is" in problem
        assert (summary["frames"], summary["frames_scored"]) == (5, 4)
        assert summary["scores"]["region_and_boundary"] == 1.0

    def test_expressions_that_cannot_be_asked_are_counted(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_mevis(tmp_path / "data", scenes[:1])
        path = root / "valid_u/meta_expressions.json"
        content = json.loads(path.read_text())
        expressions = content["videos"]["scene0"]["expressions"]
        expressions["0"]["anno_id"], expressions["1"]["anno_id"] = [], [77]
        path.write_text(json.dumps(content))
        summary = evaluate("mevis", root, tmp_path / "out", Oracle(scenes))
        assert (summary["expressions"], summary["expressions_passed_over"]) == (1, 2)
        assert len(summary["problems"]) == 2
        assert "| expressions passed over | 2 |" in table("MeViS", {"whole-clip": summary})

    def test_a_missing_video_an_empty_sentence_and_a_failing_network_are_passed_over(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        class Failing(Oracle):
            def segment(self, frames: ReadFrames, sentences: list[str]) -> list[Answer]:
                if "every object" in sentences:
                    raise RuntimeError("out of memory\nand more")
                return list(super().segment(frames, sentences))

        root = make_mevis(tmp_path / "data", scenes)
        path = root / "valid_u/meta_expressions.json"
        content = json.loads(path.read_text())
        content["videos"]["scene1"]["expressions"]["0"]["exp"] = ""
        content["videos"]["ghost"] = content["videos"]["scene1"]
        path.write_text(json.dumps(content))
        oracle = Failing(scenes)
        oracle.sentences_at_once = 1
        summary = evaluate("mevis", root, tmp_path / "out", oracle)
        assert summary["complete"]
        assert (summary["expressions_passed_over"], summary["expressions"]) == (3, 3)
        assert summary["clips_passed_over"] == 1
        assert summary["problems"] == [
            "scene0, expression 2 is passed over: out of memory",
            "scene1, expression 0 is passed over: The command is empty.",
            "scene1, expression 2 is passed over: out of memory",
            f"Video ghost is annotated, but {root}/valid_u/JPEGImages/ghost does not exist.",
        ]
        assert summary["scores"]["region_and_boundary"] == 1.0
