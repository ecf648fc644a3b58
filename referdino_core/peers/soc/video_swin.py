# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Video Swin Transformer (Liu et al., CVPR 2022) without temporal stride, the backbone."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.network.swin_transformer import FeedForward, PatchEmbedding, PatchMerging
from referdino_core.peers.soc.configuration import VideoSwinConfiguration

Extent = tuple[int, int, int]
"""Frames, rows and columns."""

LOGITS_AT_ONCE = 2**24
"""Number of attention logits computed at once; bounds the memory that long clips need."""
UNSHIFTED: Extent = (0, 0, 0)


def relative_position_index(window: Extent) -> Tensor:
    """(tokens, tokens) int64: row of the bias table for every pair of tokens in a full window."""
    axes = [torch.arange(side) for side in window]
    tokens = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    index = torch.zeros(tokens.shape[1], tokens.shape[1], dtype=torch.int64)
    for axis, side in zip(tokens, window, strict=True):
        index = index * (2 * side - 1) + axis[:, None] - axis[None] + side - 1
    return index


def fit_window(size: Extent, window: Extent, shift: Extent) -> tuple[Extent, Extent]:
    """Window and shift for a map of `size`; an axis that fits into its window is not shifted."""
    (t, dt), (h, dh), (w, dw) = (
        (side, 0) if side <= most else (most, by)
        for side, most, by in zip(size, window, shift, strict=True)
    )
    return (t, h, w), (dt, dh, dw)


def partition_windows(grid: Tensor, window: Extent) -> Tensor:
    """(B, T, H, W, C) to (B * windows, tokens, C); T, H and W are multiples of the window's."""
    batch, frames, rows, columns, channels = grid.shape
    t, h, w = window
    tiles = grid.reshape(batch, frames // t, t, rows // h, h, columns // w, w, channels)
    return tiles.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, t * h * w, channels)


def merge_windows(windows: Tensor, window: Extent, size: Extent) -> Tensor:
    """Inverse of `partition_windows`, for a grid of `size`."""
    (frames, rows, columns), (t, h, w), channels = size, window, windows.shape[-1]
    tiles = windows.view(-1, frames // t, rows // h, columns // w, t, h, w, channels)
    return tiles.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, frames, rows, columns, channels)


def window_regions(size: Extent, window: Extent, shift: Extent, device: torch.device) -> Tensor:
    """(windows, tokens) int64: region of every token of a shifted grid; regions do not interact."""
    labels = torch.zeros(1, 1, 1, dtype=torch.int64, device=device)
    for axis, (length, side, by) in enumerate(zip(size, window, shift, strict=True)):
        position = torch.arange(length, device=device)
        regions = torch.zeros_like(position)
        if by:
            regions = (position >= length - side).long() + (position >= length - by).long()
        shape = [1, 1, 1]
        shape[axis] = length
        labels = labels * 3 + regions.view(shape)
    return partition_windows(labels[None, ..., None], window).squeeze(-1)


class VideoWindowAttention(nn.Module):
    """Multi-head self-attention inside windows with a learned relative position bias."""

    def __init__(self, channels: int, heads: int, window: Extent) -> None:
        super().__init__()
        self.heads = heads
        rows = math.prod(2 * side - 1 for side in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.relative_position_index: Tensor
        self.register_buffer(
            "relative_position_index", relative_position_index(window), persistent=False
        )
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, regions: Tensor | None) -> Tensor:
        """(B * windows, tokens, C) to the same shape; `regions` is (windows, tokens), or None."""
        count, tokens, _ = windows.shape
        bias = self.bias(tokens)
        at_once = max(1, LOGITS_AT_ONCE // bias.numel())
        attended = []
        for first in range(0, count, at_once):
            part = windows[first : first + at_once]
            mask = bias[None]
            if regions is not None:
                places = torch.arange(first, first + len(part), device=part.device) % len(regions)
                labels = regions[places]
                apart = labels[:, None, :, None] != labels[:, None, None, :]
                mask = mask + torch.where(apart, -100.0, 0.0)
            attended.append(self.attend(part, mask.to(part.dtype)))
        return torch.cat(attended)

    def attend(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Attention in some windows, with `mask` (windows or 1, heads, tokens, tokens) added."""
        query, key, value = (
            self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.proj(attended.transpose(1, 2).flatten(2))

    def bias(self, tokens: int) -> Tensor:
        """(heads, tokens, tokens) learned bias of every pair of tokens in a window.

        A smaller window uses the first rows and columns of the full window's index. That is
        correct for fewer frames. For fewer rows or columns it pairs the wrong positions, but the
        released weights were trained with it.
        """
        index = self.relative_position_index[:tokens, :tokens]
        return self.relative_position_bias_table[index].permute(2, 0, 1)


class VideoSwinBlock(nn.Module):
    """Window attention and feed-forward network, each pre-norm and with a residual."""

    def __init__(self, channels: int, heads: int, window: Extent, shift: Extent) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = VideoWindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, T, H, W, C) to the same shape."""
        grid = grid + self.attend(self.norm1(grid))
        return grid + self.mlp(self.norm2(grid))

    def attend(self, grid: Tensor) -> Tensor:
        """Window attention over the grid, zero-padded to full windows."""
        _, frames, rows, columns, _ = grid.shape
        window, shift = fit_window((frames, rows, columns), self.window, self.shift)
        t, h, w = (-side % most for side, most in zip(grid.shape[1:4], window, strict=True))
        grid = F.pad(grid, (0, 0, 0, w, 0, h, 0, t))
        size = (frames + t, rows + h, columns + w)
        regions = None
        if any(shift):
            grid = grid.roll([-by for by in shift], dims=(1, 2, 3))
            regions = window_regions(size, window, shift, grid.device)
        windows = self.attn(partition_windows(grid, window), regions)
        grid = merge_windows(windows, window, size)
        if any(shift):
            grid = grid.roll(shift, dims=(1, 2, 3))
        return grid[:, :frames, :rows, :columns]


class VideoSwinStage(nn.Module):
    """Blocks at one resolution; every second one is shifted by half a window."""

    def __init__(self, channels: int, depth: int, heads: int, window: Extent) -> None:
        super().__init__()
        half = (window[0] // 2, window[1] // 2, window[2] // 2)
        self.blocks = nn.ModuleList(
            VideoSwinBlock(channels, heads, window, half if index % 2 else UNSHIFTED)
            for index in range(depth)
        )

    def forward(self, grid: Tensor) -> Tensor:
        """(B, T, H, W, C) to the same shape."""
        for block in self.blocks:
            grid = block(grid)
        return grid


class FramePatches(PatchEmbedding):
    """Embedding of non-overlapping 4x4 patches of every frame."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.proj = nn.Conv3d(  # type: ignore[assignment]
            3, channels, kernel_size=(1, 4, 4), stride=(1, 4, 4)
        )


class VideoSwin(nn.Module):
    """Backbone: feature maps of every frame at strides 4, 8, 16 and 32, without output norms."""

    def __init__(self, configuration: VideoSwinConfiguration) -> None:
        super().__init__()
        channels = configuration.channels
        self.patch_embed = FramePatches(channels[0])
        self.layers = nn.ModuleList(
            VideoSwinStage(count, depth, heads, configuration.window)
            for count, depth, heads in zip(
                channels, configuration.depths, configuration.heads, strict=True
            )
        )
        self.downsamples = nn.ModuleList(PatchMerging(count) for count in channels[:-1])

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, T, 3, H, W) normalised pixels to four (B, T, C, h, w) maps, finest first."""
        clips = pixels.shape[:2]
        grid = self.patch_embed(pixels.flatten(0, 1)).unflatten(0, clips)
        outputs = []
        for index, layer in enumerate(self.layers):
            if index:
                grid = self.downsamples[index - 1](grid.flatten(0, 1)).unflatten(0, clips)
            grid = layer(grid)
            outputs.append(grid.permute(0, 1, 4, 2, 3))
        return tuple(outputs)
