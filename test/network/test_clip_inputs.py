# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Pixels and token ids that whole-clip inference refuses, and those that it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import referdino_core as rd
from referdino_core.errors import CommandError, ImageError
from referdino_core.network.clip_inputs import check_pixels, checked_ids
from referdino_core.network.referdino import ReferDINO

IDS = torch.tensor([0, 17, 45, 7, 2])
WORDS = torch.tensor([2, 5, 7, 3])


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (torch.zeros(3, 64, 96), r"shape \(T, 3, H, W\), not \(3, 64, 96\)"),
        (torch.zeros(1, 2, 3, 64, 96), "one clip have the shape"),
        (torch.zeros(2, 64, 96, 3), "one clip have the shape"),
        (torch.zeros(0, 3, 64, 96), "has no pixels"),
        (torch.zeros(2, 3, 0, 96), "has no pixels"),
        (torch.zeros(2, 3, 64, 96, dtype=torch.uint8), "float32, normalised .* not torch.uint8"),
        (torch.zeros(2, 3, 64, 96, dtype=torch.float64), "not torch.float64"),
        (np.zeros((2, 3, 64, 96), np.float32), "not ndarray"),
        (torch.full((2, 3, 64, 96), 255.0), "range from 255 to 255: normalise them"),
        (torch.full((2, 3, 64, 96), float("nan")), "range from nan"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(tuple(value.shape)),
)
def test_pixels_that_cannot_be_used_are_one_line(pixels: torch.Tensor, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as refused:
        check_pixels(pixels)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (torch.tensor([], dtype=torch.int64), "no tokens"),
        (torch.tensor([1, 1, 1]), "no tokens"),
        (torch.tensor([0.0, 17.0, 2.0]), "int64, of shape .* not torch.float32"),
        ([0, 17, 2], "not list"),
        (torch.stack([IDS, IDS]), r"not \(2, 5\)"),
        (torch.full((39,), 7), "has 39 tokens; the text encoder reads at most 38"),
        (torch.tensor([0, 300, 2]), "tokens 0 to 299, and not 300"),
        (torch.tensor([0, -1, 2]), "and not -1"),
    ],
)
def test_tokens_that_cannot_be_used_are_one_line(ids: torch.Tensor, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as refused:
        checked_ids(ids, 300, 38, padding_id=1)
    assert "\n" not in str(refused.value)


def test_token_ids_are_one_sentence_of_int64() -> None:
    for given in (IDS, IDS[None], IDS.int()):
        assert torch.equal(checked_ids(given, 300, 38), IDS)


@pytest.fixture(scope="module")
def nano() -> ReferDINO:
    return rd.build("nano")


@pytest.mark.parametrize(
    ("pixels", "ids", "stamps", "error", "reason"),
    [
        (torch.zeros(3, 64, 96), WORDS, None, ImageError, "one clip have the shape"),
        (torch.full((2, 3, 64, 96), torch.nan), WORDS, None, ImageError, "range from nan"),
        (torch.zeros(2, 3, 64, 96), WORDS, [0.0], ImageError, "1 stamps for 2 frames"),
        (torch.zeros(2, 3, 64, 96), WORDS[:0], None, CommandError, "no tokens"),
        (torch.zeros(2, 3, 64, 96), WORDS + 9000, None, CommandError, "and not 9002"),
        (torch.zeros(2, 3, 64, 96), WORDS.repeat(65), None, CommandError, "has 260 tokens"),
    ],
)
def test_referdino_refuses_a_clip_in_one_line_and_segments_the_next(
    nano: ReferDINO,
    pixels: torch.Tensor,
    ids: torch.Tensor,
    stamps: list[float] | None,
    error: type[Exception],
    reason: str,
) -> None:
    with pytest.raises(error, match=reason) as refused:
        nano.segment(pixels, ids, stamps)
    assert "\n" not in str(refused.value)
    assert len(nano.segment(torch.zeros(1, 3, 64, 96), WORDS).scores) == 1
