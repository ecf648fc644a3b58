# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The reader of a user's own clips."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bag_samples import IMAGE_TOPIC, scene, scene_images, scene_labels, write_bag
from miniature_benchmarks import FRAMES, Scene, make_scenes, run_length
from miniature_files import write_palette_png
from miniature_predictions import Oracle, evaluate
from miniature_training_sets import changed_clips, make_own_clips
from numpy.testing import assert_array_equal
from rosbags.rosbag2 import StoragePlugin

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.benchmarks.catalogue import open_benchmark
from referdino_core.evaluation.benchmarks.clips import Clip
from referdino_core.replay.bag_frames import BagFrames
from referdino_core.world import WorldRenderer

SIZE = [120, 160]


@pytest.fixture(scope="module")
def scenes(renderer: WorldRenderer) -> list[Scene]:
    return make_scenes(renderer)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, scenes: list[Scene]) -> Path:
    return make_own_clips(tmp_path_factory.mktemp("own") / "clips", scenes)


def read(folder: Path, video: str = "scene0") -> tuple[Clip, list[str]]:
    """A clip, and what was left out of it."""
    benchmark = open_benchmark("own-clips", folder, bags=BagFrames())
    (clip,) = benchmark.clips(video)
    return clip, benchmark.expressions_skipped


@pytest.mark.parametrize("number", [0, 1])
def test_videos_with_run_lengths_and_images_with_labels_are_read(
    clips: Path, scenes: list[Scene], number: int
) -> None:
    wanted = scenes[number]
    clip, left_out = read(clips, wanted.name)
    assert left_out == [] and clip.frame_rate == 10.0
    assert len(clip.frame_names) == FRAMES and clip.annotated == (0, 2, 4)
    for place, question in enumerate(clip.questions):
        (expression,) = question.expressions
        assert expression.sentence == wanted.sentences[place][0]
        for index in range(FRAMES):
            truth = clip.truth_at(index)
            if index % 2:
                assert truth is None
            else:
                assert truth is not None
                assert_array_equal(truth.of(expression.objects), wanted.labels[index] == place + 1)
    images = list(clip.open_images([1, 4]))
    for image, index in zip(images, (1, 4), strict=True):
        assert isinstance(image, np.ndarray)
        assert np.abs(image.astype(int) - wanted.frames[index]).mean() < 8


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_recordings_are_read_by_topic(tmp_path: Path, storage: StoragePlugin) -> None:
    write_bag(tmp_path / "drive", scene(6, with_truth=True), storage)
    for index in (1, 3):
        write_palette_png(tmp_path / "masks" / f"{index}.png", scene_labels(6)[index])
    entry = {
        "source": "drive",
        "masks": "masks",
        "sentences": [{"text": "the red ball", "objects": [1]}],
    }
    described = tmp_path / "clips.json"
    described.write_text(json.dumps({"clips": {"drive": entry}}))
    with pytest.raises(SourceError, match=r"clip 'drive': .*several image topics"):
        read(tmp_path, "drive")
    described.write_text(json.dumps({"clips": {"drive": {**entry, "topic": IMAGE_TOPIC}}}))
    clip, left_out = read(tmp_path, "drive")
    assert left_out == [] and len(clip.frame_names) == 6 and clip.annotated == (1, 3)
    for image, index in zip(clip.open_images([1, 3]), (1, 3), strict=True):
        assert_array_equal(image, scene_images(6)[index])
    assert len(list(clip.open_images())) == 6
    with pytest.raises(SourceError, match="recording, which cannot be read here"):
        list(open_benchmark("own-clips", tmp_path).clips("drive"))


def test_perfect_masks_score_one_on_annotated_frames(
    tmp_path: Path, clips: Path, scenes: list[Scene]
) -> None:
    summary = evaluate("own-clips", clips, tmp_path, Oracle(scenes))
    assert summary["scores"]["region_and_boundary"] == 1.0
    assert summary["expressions"] == 4 and summary["frames_scored"] == 6


def test_clips_belong_to_splits(tmp_path: Path, clips: Path) -> None:
    folder = changed_clips(clips, tmp_path / "clips", split="valid")
    assert open_benchmark("own-clips", folder, "train").videos == ("scene1",)
    assert open_benchmark("own-clips", folder, "valid").videos == ("scene0",)
    assert open_benchmark("own-clips", folder).videos == ("scene0", "scene1")
    with pytest.raises(SourceError, match="split test; there are: train, valid"):
        open_benchmark("own-clips", folder, "test")


def test_clips_can_be_sent_to_other_processes(clips: Path) -> None:
    clip, _ = read(clips)
    sent = pickle.loads(pickle.dumps(clip))
    found, expected = sent.truth_at(2), clip.truth_at(2)
    assert found is not None and expected is not None
    assert_array_equal(found.masks[1], expected.masks[1])


EMPTY: dict[str, Any] = {"size": SIZE, "counts": [SIZE[0] * SIZE[1]]}


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"source": None}, r"clips\.json, clip 'scene0' has no \"source\""),
        ({"source": "gone.mp4"}, r"gone\.mp4 does not exist"),
        ({"source": "clips.json"}, r"clips\.json holds no video"),
        ({"masks": None}, 'has no "masks"'),
        ({"masks": "nowhere"}, "nowhere cannot be read: No such file"),
        ({"masks": "scene1"}, "no mask belongs to a frame"),
        ({"masks": {"1": {"0": None}}}, "hold no run lengths"),
        ({"masks": {"mug": {"0": EMPTY}}}, "hold no run lengths"),
        ({"masks": {"1": {"9": EMPTY}}}, "no mask belongs to a frame"),
        ({"masks": {"1": {"0": EMPTY}, "2": {"1": EMPTY}}}, "for each of its objects"),
        ({"sentences": None}, "has no usable sentence"),
        ({"sentences": [{"text": "the mug", "objects": [7]}]}, "has no usable sentence"),
        ({"frame_rate": "fast"}, "'fast' is not a number of frames per second"),
    ],
)
def test_a_clip_that_cannot_be_used_is_one_clear_error(
    tmp_path: Path, clips: Path, entries: dict[str, Any], complaint: str
) -> None:
    folder = changed_clips(clips, tmp_path / "clips", **entries)
    with pytest.raises(SourceError, match=complaint):
        read(folder)
    assert read(folder, "scene1")[1] == []


def test_what_is_left_out_of_a_clip_is_named(tmp_path: Path, clips: Path) -> None:
    ball = {"text": "the ball", "objects": [1]}
    wrong = [{"text": " "}, {"text": "the cube"}, {"text": "it", "objects": [3, 1]}, "the box"]
    code = run_length(np.eye(*SIZE, dtype=bool))
    masks = {"1": {"0": code, "1": code, "8": None}, "2": {"0": None}, "ball": {}}
    folder = changed_clips(
        clips, tmp_path / "clips", sentences=[ball, *wrong], masks=masks, colour="red"
    )
    clip, left_out = read(folder)
    assert [q.expressions[0].sentence for q in clip.questions] == ["the ball"]
    assert clip.annotated == (0,)
    expected = (
        "'colour' is not known",
        "object 'ball' are not used: its id must be a number",
        "'8' is not a frame of",
        "frame 1 is not used, as it has no mask of object 2; write null",
        'sentence 1 has no "text"',
        "sentence 2, 'the cube', has no \"objects\"",
        "sentence 3, 'it': object 3 has no masks; there are: 1, 2",
        'sentence 4 has no "text"',
    )
    for line, text in zip(left_out, expected, strict=True):
        assert text in line and "clips.json, clip 'scene0'" in line


def test_a_damaged_mask_is_named_when_it_is_read(tmp_path: Path, clips: Path) -> None:
    code = run_length(np.eye(*SIZE, dtype=bool))
    masks = {"1": {"0": code, "1": code, "2": {"size": SIZE, "counts": "?"}, "3": "text"}}
    masks["1"]["4"] = {"size": [2, 2], "counts": [4]}
    folder = changed_clips(
        clips, tmp_path / "clips", masks=masks, sentences=[{"text": "it", "objects": [1]}]
    )
    clip, left_out = read(folder)
    assert left_out == [] and clip.truth_at(1) is not None
    for index, complaint in ((2, "run lengths"), (3, "no COCO"), (4, "is 2x2")):
        with pytest.raises(ImageError, match=f"object 1 in frame {index}.*{complaint}"):
            clip.truth_at(index)


def test_masks_of_black_and_white_are_explained(tmp_path: Path, clips: Path) -> None:
    folder = changed_clips(clips, tmp_path / "clips", masks="white")
    for index, value in ((0, 255), (1, 1)):
        labels = np.zeros(SIZE, np.uint8)
        labels[:9] = value
        write_palette_png(folder / "white" / f"{index}.png", labels)
    (folder / "white" / "2.png").write_bytes(b"no image")
    clip, left_out = read(folder)
    assert clip.annotated == (0, 1)
    assert any("0.png holds only 0 and 255" in line for line in left_out)
    assert any("2.png cannot be read" in line for line in left_out)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("[]", "no JSON object"), ("{", "no JSON file"), ("{}", 'holds no "clips"'), (None, "exist")],
)
def test_a_description_that_is_none_is_one_clear_error(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "clips.json").write_text(content)
    with pytest.raises(SourceError, match=rf"clips\.json.*{complaint}"):
        open_benchmark("own-clips", tmp_path)
