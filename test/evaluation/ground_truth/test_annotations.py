# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth in MeViS's form, of the world's clips, and the choice between all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from media_samples import flat_image
from pycocotools import mask as coco_mask

from referdino_core.errors import ReferDINOError, SourceError
from referdino_core.evaluation.ground_truth import FrameGroundTruth, GroundTruth, open_ground_truth
from referdino_core.evaluation.ground_truth.opening import ground_truth_files
from referdino_core.world import WorldRenderer

SIZE = (24, 32)
FRAMES = 3


def block(left: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[4:10, left : left + 6] = 1
    return mask


def code(mask: np.ndarray) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def annotations() -> tuple[dict[str, Any], dict[str, Any]]:
    """Sentences of two videos, and masks by annotation id."""
    videos = {
        "bear": {
            "frames": ["00000", "00005", "00010"],
            "expressions": {
                "0": {"exp": "The  two Bears.", "obj_id": [0, 1], "anno_id": [10, 9]},
                "1": {"exp": "the left bear", "obj_id": [0], "anno_id": [9]},
                "2": {"exp": "a bear that flies", "obj_id": [], "anno_id": []},
            },
        },
        "goat": {
            "frames": ["00000"],
            "expressions": {"0": {"exp": "the goat", "obj_id": [0], "anno_id": [11]}},
        },
    }
    masks = {
        "9": [code(block(0)), code(block(2)), None],
        "10": [code(block(20)), None, None],
        "11": [code(block(8))],
    }
    return {"videos": videos}, masks


def write(folder: Path, sentences: dict[str, Any], masks: dict[str, Any] | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "meta_expressions.json"
    path.write_text(json.dumps(sentences))
    if masks is not None:
        (folder / "mask_dict.json").write_text(json.dumps(masks))
    return path


def frame_of(truth: GroundTruth, index: int) -> FrameGroundTruth:
    frame = truth.at(index, 0)
    assert frame is not None
    return frame


def test_targets_of_a_sentence_are_merged(tmp_path: Path) -> None:
    truth = open_ground_truth(f"{write(tmp_path, *annotations())}#bear")
    assert truth.objects == (9, 10)
    assert truth.resolve("the two bears") == (9, 10)
    assert truth.resolve("THE LEFT BEAR.") == (9,)
    assert truth.resolve("a bear that flies") == ()
    assert truth.objects_of("the goat") is None
    with pytest.raises(SourceError, match=r"by their anno_id\).*the goat.*there are: 9, 10"):
        truth.resolve("the goat")
    first, last = frame_of(truth, 0), frame_of(truth, 2)
    assert (first.of([9, 10]) == (block(0) | block(20)).astype(bool)).all()
    assert first.size == SIZE and first.ignored is None
    assert sorted(last.masks) == [9, 10] and not last.of([9, 10]).any()
    assert truth.at(3, 0) is None
    assert truth.problems == ["a frame has no annotation: frame 3"]


def test_one_file_may_hold_sentences_and_masks(tmp_path: Path) -> None:
    sentences, masks = annotations()
    path = write(tmp_path, sentences | {"mask_dict": masks}, None)
    truth = open_ground_truth(str(path), Path("/bags/goat"))
    assert (frame_of(truth, 0).of(truth.resolve("the goat")) == block(8).astype(bool)).all()


def test_one_mask_of_another_size_costs_its_own_frame_only(tmp_path: Path) -> None:
    sentences, masks = annotations()
    masks["9"] = [code(block(0, (12, 16))), code(block(2)), code(block(4))]
    truth = open_ground_truth(f"{write(tmp_path, sentences, masks)}#bear")
    assert [truth.at(index, 0) is not None for index in range(3)] == [False, True, True]
    assert "annotation 9 in frame 0" in truth.problems[0]


def test_run_lengths_may_be_lists(tmp_path: Path) -> None:
    sentences, masks = annotations()
    masks["11"] = [{"size": [2, 3], "counts": [1, 2, 3]}]
    truth = open_ground_truth(f"{write(tmp_path, sentences, masks)}#goat")
    expected = np.array([[0, 1, 0], [1, 0, 0]], bool)  # down the columns
    assert (frame_of(truth, 0).masks[0] == expected).all()


def test_a_folder_of_annotations_and_the_recordings_name_are_enough(tmp_path: Path) -> None:
    write(tmp_path, *annotations())
    assert open_ground_truth(str(tmp_path), Path("/videos/goat.mp4")).objects == (0,)


def test_an_object_is_called_as_in_the_file(tmp_path: Path) -> None:
    sentences, masks = annotations()
    bear = sentences["videos"]["bear"]["expressions"]
    bear["0"] |= {"obj_id": [5, 3], "anno_id": [10, 9]}
    bear["1"]["obj_id"] = [3]
    truth = open_ground_truth(f"{write(tmp_path, sentences, masks)}#bear")
    assert truth.objects == (3, 5) and truth.resolve("the left bear") == (3,)
    assert (frame_of(truth, 0).of([5]) == block(20).astype(bool)).all()
    with pytest.raises(SourceError, match=r"by their obj_id\).*there are: 3, 5"):
        truth.resolve("a wolf")


def test_frames_are_matched_by_name_with_a_folder_of_images(tmp_path: Path) -> None:
    images = tmp_path / "bear"
    images.mkdir()
    for name in ("00000", "00003", "00005"):
        cv2.imwrite(str(images / f"{name}.jpg"), flat_image(9, *SIZE))
    truth = open_ground_truth(str(write(tmp_path / "truth", *annotations())), images)
    assert truth.at(1, 0) is None
    assert (frame_of(truth, 2).masks[9] == block(2).astype(bool)).all()
    assert truth.problems == ["an annotated frame is not in the recording: frame 00010"]


def test_damaged_annotations_are_named_and_only_their_frames_are_lost(tmp_path: Path) -> None:
    sentences, masks = annotations()
    expressions = sentences["videos"]["bear"]["expressions"]
    expressions["3"] = {"exp": "the third bear", "obj_id": [2], "anno_id": [77]}
    expressions["4"] = {"exp": "a hidden answer"}
    masks["9"] = [code(block(0)), {"size": [24, 32], "counts": "5"}]
    masks["10"] = [code(block(20)), None, code(block(1, (12, 16)))]
    truth = open_ground_truth(f"{write(tmp_path, sentences, masks)}#bear")
    assert [truth.at(index, 0) is not None for index in range(3)] == [True, False, False]
    assert truth.objects_of("the third bear") is None
    assert truth.objects_of("the left bear") == (9,)
    lines = "\n".join(truth.problems)
    assert "an annotation has no masks: annotation 77" in lines
    assert "lacks 'exp' or 'anno_id': expression 4" in lines
    assert "cannot be used, so its frame is not scored, 2 times" in lines
    assert "annotation 9 in frame 1" in lines


@pytest.mark.parametrize(
    ("sentences", "masks", "message"),
    [
        ({}, {}, "no 'videos'"),
        ({"videos": {}}, {}, "no 'videos'"),
        (annotations()[0], {}, "2 videos"),
        ({"videos": {"a": None}}, None, "mask_dict.json cannot be read"),
    ],
)
def test_files_of_another_form_are_refused(
    tmp_path: Path, sentences: dict[str, Any], masks: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        open_ground_truth(str(write(tmp_path, sentences, masks)))


def test_a_video_without_annotations_scores_nothing_and_says_so(tmp_path: Path) -> None:
    truth = open_ground_truth(str(write(tmp_path, {"videos": {"a": None}}, {})))
    assert truth.at(0, 0) is None and truth.objects == ()
    assert any("no sentences" in line for line in truth.problems)


def test_broken_json_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, *annotations())
    path.write_text('{"videos": ')
    with pytest.raises(SourceError, match="no JSON file"):
        open_ground_truth(str(path))
    path.write_text("[]")
    with pytest.raises(SourceError, match="no JSON object"):
        open_ground_truth(str(path))
    with pytest.raises(SourceError, match="no video 'wolf'"):
        open_ground_truth(f"{write(tmp_path, *annotations())}#wolf")


def test_a_clip_of_the_world_knows_its_objects_and_sentences(renderer: WorldRenderer) -> None:
    clip = renderer.clip("test", 0)
    truth = open_ground_truth("world:test:0")
    assert truth.objects == tuple(range(1, len(clip.objects) + 1))
    for expression in clip.expressions:
        meant = () if expression.target is None else (expression.target,)
        assert truth.resolve(expression.text) == meant
    assert truth.objects_of("the flying carpet") is None
    for index, segmentation in enumerate(clip.segmentation):
        frame = frame_of(truth, index)
        assert frame.size == segmentation.shape and sorted(frame.masks) == list(truth.objects)
        for number, mask in frame.masks.items():
            assert (mask == (segmentation == number)).all()
    assert truth.at(len(clip.segmentation), 0) is None
    assert truth.problems == ["a frame lies beyond the clip of the world: frame 12"]


@pytest.mark.parametrize("wrong", ["world:test", "world:test:x", "world:exam:1", "world::"])
def test_a_clip_that_there_is_not_is_refused(wrong: str) -> None:
    with pytest.raises(ReferDINOError):
        open_ground_truth(wrong)


def test_topics_are_opened_by_the_given_class() -> None:
    class OfTopic(GroundTruth):
        def at(self, index: int, stamp: int) -> FrameGroundTruth | None:
            return None

    assert open_ground_truth("topic:/truth/labels", None, OfTopic).description == "/truth/labels"
    with pytest.raises(SourceError, match="has no topics"):
        open_ground_truth("topic:/truth/labels", Path("clip.mp4"))


def test_what_is_no_truth_is_refused(tmp_path: Path) -> None:
    (tmp_path / "truth.txt").write_text("1")
    for wrong, message in ((tmp_path / "truth.txt", "neither"), (tmp_path / "x", "not exist")):
        with pytest.raises(SourceError, match=message):
            open_ground_truth(str(wrong))


def test_the_files_of_a_truth_are_those_that_it_reads(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    for name in ("meta_expressions.json", "mask_dict.json", "readme.txt"):
        (tmp_path / name).touch()
    for name in ("bear/00000.png", "bear/._00000.png", "goat/00000.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    both = [tmp_path / "meta_expressions.json", tmp_path / "mask_dict.json"]

    assert ground_truth_files(str(tmp_path)) == ground_truth_files(f"{both[0]}#bear") == both
    assert ground_truth_files(str(folder), Path("/videos/bear.mp4")) == [folder / "bear/00000.png"]
    assert ground_truth_files("topic:/labels") == ground_truth_files("world:test:1") == []
