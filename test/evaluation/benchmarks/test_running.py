# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of miniature benchmarks with results that are known: scores, resumption, damage."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
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
)
from miniature_predictions import SETTINGS, Confused, Oracle, evaluate, open_run
from numpy.testing import assert_array_equal

from referdino_core.evaluation.benchmarks import BENCHMARK_NAMES
from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS
from referdino_core.evaluation.benchmarks.protocols import compete
from referdino_core.evaluation.benchmarks.records import write_submission
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, SentenceResult
from referdino_core.evaluation.benchmarks.summary import COUNTS, table
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


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
    def test_a_sample_whose_evaluated_frame_is_lost_counts_as_an_empty_prediction(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_jhmdb_sentences(tmp_path / "data", scenes[:1])
        (root / "Rename_Images/catch/scene0/00003.png").write_bytes(b"no PNG")
        for _ in range(2):  # the second time from the records
            summary = evaluate("jhmdb-sentences", root, tmp_path / "out", Oracle(scenes))
            assert (summary["clips"], summary["clips_passed_over"]) == (2, 0)
            assert (summary["frames_scored"], summary["frames_scored_unread"]) == (2, 1)
            assert "scene0_00003, frame 00003 is skipped" in summary["problems"][0]
            assert summary["problems"][1] == (
                "scene0_00003 has an empty prediction: no frame that counts can be read."
            )
            scores = summary["scores"]
            assert (scores["samples"], scores["mean_iou"]) == (2, 0.5)
            areas = [(scenes[0].labels[place] == 1).sum() for place in (0, 2)]
            assert scores["overall_iou"] == pytest.approx(areas[0] / sum(areas))
            assert scores["precision"]["0.5"] == 0.5

    def test_a_clip_without_images_and_without_ground_truth_is_skipped(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        root = make_ref_youtube_vos(tmp_path / "data", scenes)
        for image in (root / "valid/JPEGImages/scene0").iterdir():
            image.write_bytes(b"no JPEG")
        summary = evaluate("ref-youtube-vos", root, tmp_path / "out", Oracle(scenes))
        assert (summary["clips"], summary["clips_passed_over"]) == (1, 1)
        assert "scene0 is skipped: no frame that counts can be read." in summary["problems"]

    def test_streams_without_a_result_score_nothing(
        self, tmp_path: Path, scenes: list[Scene]
    ) -> None:
        class Silent(Oracle):
            def segment(self, frames: ReadFrames, sentences: list[str]) -> list[SentenceResult]:
                results = list(super().segment(frames, sentences))
                for result in results:
                    result.candidates = list
                return results

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
        run.process(["scene0"])
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
    def test_a_stopped_run_resumes_where_it_was(self, tmp_path: Path, scenes: list[Scene]) -> None:
        root = make_mevis(tmp_path / "data", scenes)
        oracle = Oracle(scenes)
        oracle.sentences_at_once = 2
        stopped = open_run(
            "mevis", root, tmp_path / "out", oracle, lambda: len(oracle.segmented) >= 2
        )
        outcome = stopped.process(["scene0", "scene1"])
        assert not outcome.complete
        assert outcome.keys == [("scene0", "0"), ("scene0", "1")]
        again = Oracle(scenes)
        resumed = open_run("mevis", root, tmp_path / "out", again)
        assert resumed.process(["scene0", "scene1"]).complete
        assert len(again.segmented) == 4
        assert not set(oracle.segmented) & set(again.segmented[:1])
        whole = open_run("mevis", root, tmp_path / "other", Oracle(scenes))
        whole.process(["scene0", "scene1"])
        assert list(resumed.records()) == list(whole.records())

    @pytest.mark.parametrize("damaged", [False, True])
    def test_records_of_other_settings_and_damaged_ones_are_made_anew(
        self, tmp_path: Path, scenes: list[Scene], damaged: bool
    ) -> None:
        root = make_mevis(tmp_path / "data", scenes)
        open_run("mevis", root, tmp_path / "out", Oracle(scenes)).process(["scene0"])
        if damaged:
            path = tmp_path / "out/scene0/1.json"
            path.write_bytes(path.read_bytes()[:100])
        again = Oracle(scenes)
        settings = SETTINGS if damaged else {"model": "another"}
        run = open_run("mevis", root, tmp_path / "out", again, settings=settings)
        run.process(["scene0"])
        assert len(again.segmented) == (1 if damaged else 3)
        assert all(record.scores for record in run.records())
