# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""peers/soc/video_swin.py against attention that is written pair by pair, on maps of odd sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from referdino_core.peers.soc import video_swin
from referdino_core.peers.soc.configuration import VideoSwinConfiguration
from referdino_core.peers.soc.video_swin import VideoSwin, VideoSwinBlock

WINDOW, HEADS, CHANNELS = (8, 7, 7), 2, 8
SIZES = (
    (1, 1, 1),
    (1, 7, 8),
    (2, 3, 4),  # every axis is shorter than the window
    (3, 8, 6),  # only rows exceed it
    (4, 5, 9),  # only columns
    (8, 7, 7),  # the window itself
    (9, 6, 14),  # frames exceed it by one, columns are two windows
    (16, 8, 8),
    (17, 3, 10),
)


def block(shift: tuple[int, int, int]) -> VideoSwinBlock:
    torch.manual_seed(0)
    built = VideoSwinBlock(CHANNELS, HEADS, WINDOW, shift)
    torch.nn.init.normal_(built.attn.relative_position_bias_table)
    torch.nn.init.normal_(built.attn.qkv.bias)
    return built.eval()


def axis_positions(length: int, window: int, shift: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Window, place in it and region of every position of a padded axis, and the window's side."""
    if length <= window:
        window, shift = length, 0
    padded = math.ceil(length / window) * window
    shifted = (torch.arange(padded) - shift) % padded
    regions = torch.zeros(padded, dtype=torch.int64)
    if shift:
        regions[shifted >= padded - window] = 1
        regions[shifted >= padded - shift] = 2
    return shifted // window, shifted % window, regions, window


def bias_rows(places: Tensor) -> Tensor:
    """Rows of the bias table for all pairs of places that are numbered within a window.

    The numbers are read as those of the full window, which is what the released weights expect.
    """
    t, h, w = places // 49, places // 7 % 7, places % 7
    offsets = [axis[:, None] - axis[None] for axis in (t, h, w)]
    return (offsets[0] + 7) * 169 + (offsets[1] + 6) * 13 + offsets[2] + 6


def attention_by_pairs(one: VideoSwinBlock, grid: Tensor) -> Tensor:
    """The attention of a block over (T, H, W, C), with one logit for each pair of cells."""
    size = grid.shape[:3]
    axes = [axis_positions(*axis) for axis in zip(size, one.window, one.shift, strict=True)]
    padded = [len(windows) for windows, *_ in axes]
    cells = torch.zeros(*padded, CHANNELS)
    cells[: size[0], : size[1], : size[2]] = one.norm1(grid)

    def of_cells(kind: int, sides: tuple[int, int, int]) -> Tensor:
        """Numbers of all cells, from those of their positions on the three axes."""
        t, h, w = (axis[kind] for axis in axes)
        _, rows, columns = sides
        return ((t[:, None, None] * rows + h[:, None]) * columns + w).flatten()

    windows, regions = of_cells(0, (99, 99, 99)), of_cells(2, (3, 3, 3))
    places = of_cells(1, (axes[0][3], axes[1][3], axes[2][3]))
    query, key, value = one.attn.qkv(cells.flatten(0, 2)).view(-1, 3, HEADS, 4).unbind(1)
    logits = torch.einsum("qhc,khc->hqk", query, key) / 2
    logits = logits + one.attn.relative_position_bias_table[bias_rows(places)].permute(2, 0, 1)
    logits = logits - 100.0 * (regions[:, None] != regions[None])
    logits = logits.masked_fill(windows[:, None] != windows[None], -math.inf)
    attended = torch.einsum("hqk,khc->qhc", logits.softmax(-1), value).flatten(1)
    return one.attn.proj(attended).view(*padded, CHANNELS)[: size[0], : size[1], : size[2]]


@pytest.mark.parametrize("shift", [(0, 0, 0), (4, 3, 3)], ids=["regular", "shifted"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_window_attention_is_that_of_all_pairs(
    size: tuple[int, int, int], shift: tuple[int, int, int]
) -> None:
    one = block(shift)
    grid = torch.randn(*size, CHANNELS, generator=torch.Generator().manual_seed(1))
    found = one.attend(one.norm1(grid[None]))[0]
    torch.testing.assert_close(found, attention_by_pairs(one, grid), atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_the_number_of_windows_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, grid = block((4, 3, 3)), torch.randn(2, 9, 15, 8, CHANNELS)
    together = one.attend(grid)
    monkeypatch.setattr(video_swin, "LOGITS_AT_ONCE", 1)
    torch.testing.assert_close(one.attend(grid), together, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (30, 45), (33, 64), (97, 131)])
@torch.no_grad()
def test_maps_have_the_strides_4_to_32_rounded_up(size: tuple[int, int]) -> None:
    backbone = VideoSwin(VideoSwinConfiguration(8, (1, 1, 1, 1), (1, 1, 2, 2))).eval()
    maps = backbone(torch.randn(1, 2, 3, *size))
    for level, found in enumerate(maps):
        stride = 4 * 2**level
        rows, columns = (math.ceil(side / stride) for side in size)
        assert found.shape == (1, 2, 8 * 2**level, rows, columns)
