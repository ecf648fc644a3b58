# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC's way from images to masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from soc_samples import SMALL

import referdino_core as rd
from referdino_core.errors import ImageError
from referdino_core.network.pixels import resized_pixels
from referdino_core.peers.soc.configuration import SOC_SWIN_B, SOC_SWIN_T
from referdino_core.peers.soc.reading import EVALUATED_FRAMES, VIDEOS, clip_memory, read_clip
from referdino_core.peers.soc.soc import SOC

IDS = torch.tensor([0, 17, 42, 5, 2])


@pytest.fixture(scope="module")
def small() -> SOC:
    pytest.importorskip("transformers", reason="SOC's text encoder is that of transformers")
    torch.manual_seed(0)
    return rd.build("soc_swint", **SMALL)


def images_of(count: int, height: int, width: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return list(draw.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "videos", "evaluated"),
    (
        ((720, 1280), (360, 640), (320, 568)),
        ((480, 853), (360, 639), (320, 568)),
        ((480, 640), (360, 480), (320, 426)),
        ((640, 480), (480, 360), (426, 320)),
        ((100, 250), (256, 640), (230, 575)),
        ((101, 250), (259, 641), (233, 576)),
        ((360, 360), (360, 360), (320, 320)),
    ),
)
def test_frames_are_resized_as_published(
    size: tuple[int, int], videos: tuple[int, int], evaluated: tuple[int, int]
) -> None:
    assert VIDEOS.of(*size) == videos
    assert EVALUATED_FRAMES.of(*size) == evaluated


def test_masks_are_enlarged_straight_from_stride_4(small: SOC) -> None:
    images = images_of(3, 90, 123)
    reading = read_clip(small, IDS, images)
    pixels = torch.cat([resized_pixels(image, VIDEOS.of(90, 123)) for image in images])
    clip = small.segment(pixels, IDS)
    assert reading.chosen == clip.chosen
    np.testing.assert_allclose(reading.scores, clip.scores.sigmoid(), atol=1e-6)
    logits = F.interpolate(clip.masks[:, [clip.chosen]], (90, 123), mode="bilinear")[:, 0]
    np.testing.assert_allclose(np.stack(list(reading.probabilities())), logits.sigmoid(), atol=1e-5)
    assert np.array_equal(np.stack(list(reading.masks())), logits > 0)


def test_all_queries_are_candidates_in_the_evaluated_frame(small: SOC) -> None:
    reading = read_clip(small, IDS, images_of(8, 60, 80), EVALUATED_FRAMES, only_frame=4)
    candidates = list(reading.candidates())
    scores = [score for score, _ in candidates]
    assert len(candidates) == 6 and scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(float(reading.scores[0, reading.chosen]))
    query = int(np.argsort(-reading.scores[0])[2])
    fine = F.interpolate(reading.logits, (320, 426), mode="bilinear")[0, query] > 0
    expected = F.interpolate(fine[None, None].float(), (60, 80), mode="nearest")[0, 0].bool()
    assert np.array_equal(candidates[2][1], expected)


def test_clips_that_cannot_be_read_are_refused(small: SOC) -> None:
    with pytest.raises(ImageError, match="no frames"):
        read_clip(small, IDS, [])
    with pytest.raises(ImageError, match="one size"):
        read_clip(small, IDS, [*images_of(1, 60, 80), *images_of(1, 60, 84)])
    with pytest.raises(ImageError, match="line"):
        read_clip(small, IDS, images_of(1, 2, 400))


def test_memory_grows_with_frames_pixels_and_channels() -> None:
    one = clip_memory(SOC_SWIN_T, 8, (360, 640))
    assert clip_memory(SOC_SWIN_T, 80, (360, 640)) > 5 * one
    assert clip_memory(SOC_SWIN_T, 8, (360, 640)) > clip_memory(SOC_SWIN_T, 8, (360, 480))
    assert clip_memory(SOC_SWIN_B, 8, (360, 640)) > one
