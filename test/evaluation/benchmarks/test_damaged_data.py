# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged benchmark data: unreadable frames, wrong ground truth, failing expressions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from miniature_benchmarks import (
    Scene,
    make_mevis,
    make_ref_davis17,
    make_ref_youtube_vos,
    make_scenes,
    run_length,
)
from miniature_predictions import Oracle, evaluate, open_run

from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS
from referdino_core.evaluation.benchmarks.records import write_submission
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, SentenceResult
from referdino_core.evaluation.benchmarks.summary import summarise_run, table
from referdino_core.world import WorldRenderer


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


def test_damaged_frames_are_named_and_counted_and_scored_as_empty_predictions(
    tmp_path: Path, scenes: list[Scene]
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
        # One of scene0's four evaluated frames is right, and all five of scene1's.
        assert summary["scores"]["region"]["mean"] == pytest.approx((1 / 4 + 1) / 2)
        assert summary["scores"]["region_and_boundary"] == pytest.approx((1 / 4 + 1) / 2)
        assert len(summary["problems"]) == 4
        for line, parts in zip(
            summary["problems"],
            [
                ("scene0, frame 00005 is skipped", "No such file"),
                ("scene0, frame 00010 is skipped", "it is 200x150, not 160x120"),
                ("scene0, frame 00015 is skipped", "cut off"),
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


def test_a_clip_of_which_no_image_can_be_read_counts_as_empty_predictions(
    tmp_path: Path, scenes: list[Scene]
) -> None:
    root = make_mevis(tmp_path / "data", scenes)
    for image in (root / "valid_u/JPEGImages/scene0").iterdir():
        image.write_bytes(b"no JPEG")
    run = open_run("mevis", root, tmp_path / "records", Oracle(scenes))
    run.process(["scene0", "scene1"])
    summary = summarise_run(run, BENCHMARKS["mevis"].protocol)
    assert (summary["clips"], summary["clips_scored"], summary["clips_passed_over"]) == (
        2,
        2,
        0,
    )
    assert summary["scores"]["region_and_boundary"] == pytest.approx(0.5)
    assert (
        "scene0 has an empty prediction: no frame that counts can be read." in summary["problems"]
    )
    write_submission(run.records(), tmp_path / "out", "")
    image = cv2.imread(str(tmp_path / "out/Annotations/scene0/0/00000.png"), 0)
    assert image.shape == scenes[0].labels.shape[1:] and not image.any()


def test_truth_of_another_size_is_not_scored(tmp_path: Path, scenes: list[Scene]) -> None:
    small = Scene("scene0", scenes[0].frames, scenes[0].labels[:, :60], scenes[0].sentences)
    root = make_ref_davis17(tmp_path / "data", [small])
    summary = evaluate("ref-davis17", root, tmp_path / "out", Oracle(scenes))
    assert summary["scores"] is None
    assert (summary["clips"], summary["clips_scored"], summary["frames_scored"]) == (1, 0, 0)
    assert (summary["expressions"], summary["expressions_scored"]) == (8, 0)
    assert len(summary["problems"]) == 5
    assert "its ground truth is 160x60, the image 160x120" in summary["problems"][0]


@pytest.mark.parametrize("size", [(1, 1), (60, 160)])
def test_a_mask_of_another_size_is_named_and_its_frame_is_not_evaluated(
    tmp_path: Path, scenes: list[Scene], size: tuple[int, int]
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


def test_expressions_that_cannot_be_evaluated_are_counted(
    tmp_path: Path, scenes: list[Scene]
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
    assert "| expressions skipped | 2 |" in table("MeViS", {"whole-clip": summary})


def test_a_missing_video_an_empty_sentence_and_a_failing_network_are_skipped(
    tmp_path: Path, scenes: list[Scene]
) -> None:
    class Failing(Oracle):
        def segment(self, frames: ReadFrames, sentences: list[str]) -> list[SentenceResult]:
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
        "scene0, expression 2 is skipped: out of memory",
        "scene1, expression 0 is skipped: The command is empty.",
        "scene1, expression 2 is skipped: out of memory",
        f"Video ghost is annotated, but {root}/valid_u/JPEGImages/ghost does not exist.",
    ]
    assert summary["scores"]["region_and_boundary"] == 1.0
