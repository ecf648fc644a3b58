# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How SOC's inference cuts the clips of benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from miniature_benchmarks import Scene, make_a2d_sentences, make_jhmdb_sentences, make_scenes
from soc_samples import SMALL, write_vocabulary

import referdino_core as rd
from referdino_core.evaluation.benchmarks import soc_segmenter
from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS, open_benchmark
from referdino_core.evaluation.benchmarks.clips import window_around
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames
from referdino_core.evaluation.benchmarks.soc_segmenter import (
    SOCProtocol,
    SOCWholeClip,
    frames_around,
)
from referdino_core.evaluation.soc_model import LoadedSOC
from referdino_core.peers.soc.reading import FrameSize, SOCReading, read_clip
from referdino_core.peers.soc.tokenizer import RobertaTokenizer
from referdino_core.session.model_choice import ModelChoice
from referdino_core.world import WorldRenderer

TINY = FrameSize(64, 96)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedSOC:
    pytest.importorskip("transformers", reason="SOC's text encoder is that of transformers")
    torch.manual_seed(0)
    files = write_vocabulary(tmp_path_factory.mktemp("bpe") / "roberta")
    return LoadedSOC(rd.build("soc_swint", **SMALL), RobertaTokenizer(*files), ModelChoice())


def numbered(indices: Sequence[int], only_frame: int | None = None) -> ReadFrames:
    """Grey images whose level is their index in the clip."""
    images = [np.full((60, 80, 3), index, np.uint8) for index in indices]
    return ReadFrames("clip", images, [0.1 * index for index in indices], indices, only_frame)


def levels(images: Sequence[np.ndarray]) -> list[int]:
    return [int(image[0, 0, 0]) for image in images]


def test_published_protocols() -> None:
    def of(name: str) -> tuple[int | None, tuple[int, int]]:
        protocol = BENCHMARKS[name].soc
        assert protocol is not None
        return protocol.frames_at_once, (protocol.frame_size.short, protocol.frame_size.longest)

    assert of("ref-youtube-vos") == (None, (360, 640))
    assert of("ref-davis17") == (36, (360, 640))
    assert of("a2d-sentences") == of("jhmdb-sentences") == (None, (320, 576))
    assert BENCHMARKS["mevis"].soc is None


@pytest.mark.parametrize(
    ("indices", "only_frame", "expected"),
    (
        (range(8), 4, [0, 1, 2, 3, 4, 5, 6, 7]),
        (range(5), 1, [0, 0, 0, 0, 1, 2, 3, 4]),
        (range(4), 0, [0, 0, 0, 0, 0, 1, 2, 3]),
        (range(5), 4, [0, 1, 2, 3, 4, 4, 4, 4]),
        ((0, 1, 4, 5, 7), 2, [0, 1, 1, 4, 4, 5, 5, 7]),
        ((3,), 0, [3] * 8),
    ),
)
def test_the_evaluated_frame_is_the_fifth_of_eight(
    indices: Sequence[int], only_frame: int, expected: list[int]
) -> None:
    assert levels(frames_around(numbered(indices, only_frame), only_frame)) == expected


def test_readers_give_the_frames_on_both_sides(tmp_path: Path, renderer: WorldRenderer) -> None:
    scenes: list[Scene] = make_scenes(renderer, 1)
    pytest.importorskip("h5py")
    for name, make, frames in (
        ("jhmdb-sentences", make_jhmdb_sentences, 4),  # its masks end before its frames
        ("a2d-sentences", make_a2d_sentences, 5),
    ):
        root = make(tmp_path / name, scenes)
        reader = open_benchmark(name, root, context=window_around)
        for clip in reader.clips(reader.videos[0]):
            place = int(clip.name.rpartition("_")[2]) - 1
            count = len(clip.frame_names)
            assert count == min(place + 4, frames) and clip.only_frame == place
            annotated = [clip.truth_at(index) is not None for index in range(count)]
            assert annotated == [index == place for index in range(count)]
    assert list(window_around(20, 100)) == list(range(16, 24))


def test_chunks_answer_each_for_themselves(
    loaded: LoadedSOC, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def recorded(model: object, ids: object, images: Sequence[np.ndarray], *rest: object) -> object:
        lengths.append(len(images))
        return read_clip(model, ids, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(soc_segmenter, "read_clip", recorded)
    segmenter = SOCWholeClip(loaded, SOCProtocol(frames_at_once=3, frame_size=TINY))
    (result,) = segmenter.segment(numbered(range(7)), ["the red ball"])
    masks = np.stack(list(result.masks()))
    assert lengths == [3, 3, 1]
    assert masks.shape == (7, 60, 80)
    ids = loaded.tokenizer.encode("the red ball")
    alone: SOCReading = read_clip(loaded.model, ids, numbered(range(3, 6)).images, TINY)
    assert np.array_equal(masks[3:6], np.stack(list(alone.masks())))
    probabilities = np.stack(list(result.probabilities()))
    assert np.array_equal(probabilities > 0.5, masks)


def test_where_one_frame_is_evaluated_all_queries_are_candidates(loaded: LoadedSOC) -> None:
    segmenter = SOCWholeClip(loaded, SOCProtocol(frame_size=TINY))
    (result,) = segmenter.segment(numbered(range(5), 1), ["the red ball"])
    candidates = result.candidates()
    scores = [candidate.score for candidate in candidates]
    assert len(candidates) == 6 and scores == sorted(scores, reverse=True)
    assert all(candidate.mask.shape == (60, 80) for candidate in candidates)
