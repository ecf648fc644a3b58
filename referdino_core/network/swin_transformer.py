# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer, the image backbone (Liu et al., ICCV 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.configuration import SwinConfiguration


def relative_position_index(window: int) -> Tensor:
    """(window^2, window^2) int64: row of the bias table for every pair of tokens in a window."""
    axis = torch.arange(window)
    positions = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
    offsets = positions[:, :, None] - positions[:, None, :] + window - 1
    return offsets[0] * (2 * window - 1) + offsets[1]


def partition_windows(grid: Tensor, window: int) -> Tensor:
    """(N, H, W, C) to (N * windows, window^2, C); H and W are multiples of the window."""
    count, height, width, channels = grid.shape
    tiles = grid.view(count, height // window, window, width // window, window, channels)
    return tiles.transpose(2, 3).reshape(-1, window * window, channels)


def merge_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Inverse of `partition_windows`: (N * windows, window^2, C) to (N, H, W, C)."""
    channels = windows.shape[-1]
    tiles = windows.view(-1, height // window, width // window, window, window, channels)
    return tiles.transpose(2, 3).reshape(-1, height, width, channels)


def window_regions(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """(windows, window^2) int64 region of every token of a shifted grid; attention stays within."""
    shift = window // 2

    def regions(length: int) -> Tensor:
        position = torch.arange(length, device=device)
        return (position >= length - window).long() + (position >= length - shift).long()

    labels = regions(height)[:, None] * 3 + regions(width)[None, :]
    return partition_windows(labels[None, :, :, None], window).squeeze(-1)


def shifted_window_mask(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """(windows, window^2, window^2) float attention mask: -100 between different regions."""
    labels = window_regions(height, width, window, device)
    differ = labels[:, :, None] != labels[:, None, :]
    return torch.zeros(differ.shape, device=device).masked_fill(differ, -100.0)


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows with a learned relative position bias."""

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.relative_position_index: Tensor
        self.register_buffer(
            "relative_position_index", relative_position_index(window), persistent=False
        )
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """(N * windows, tokens, C) to the same shape; `mask` is (windows, tokens, tokens)."""
        batch, tokens, channels = windows.shape
        query, key, value = (
            self.qkv(windows)
            .view(batch, tokens, 3, self.heads, channels // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        bias = self.logit_bias(mask, batch).to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).reshape(batch, tokens, channels))

    def bias(self) -> Tensor:
        """(heads, tokens, tokens) learned bias of every pair of tokens."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def logit_bias(self, mask: Tensor | None, batch: int) -> Tensor:
        """(batch or 1, heads, tokens, tokens) bias plus the mask, if there is one."""
        if mask is None:
            return self.bias()[None]
        return (self.bias() + mask[:, None]).repeat(batch // len(mask), 1, 1, 1)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, and a hidden width of four times the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return self.fc2(F.gelu(self.fc1(features)))


class SwinBlock(nn.Module):
    """Pre-norm block of window attention and a feed-forward network."""

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = FeedForward(channels)

    def forward(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        """(N, H, W, C) to the same shape; `mask` is used by shifted blocks."""
        grid = grid + self.attend(self.norm1(grid), mask)
        return grid + self.mlp(self.norm2(grid))

    def attend(self, grid: Tensor, mask: Tensor | None) -> Tensor:
        """Window attention over a grid that is zero-padded to whole windows."""
        _, height, width, _ = grid.shape
        grid = F.pad(grid, (0, 0, 0, -width % self.window, 0, -height % self.window))
        _, padded_height, padded_width, _ = grid.shape
        if self.shift:
            grid = grid.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = self.attn(partition_windows(grid, self.window), mask if self.shift else None)
        grid = merge_windows(windows, self.window, padded_height, padded_width)
        if self.shift:
            grid = grid.roll((self.shift, self.shift), dims=(1, 2))
        return grid[:, :height, :width]


class PatchMerging(nn.Module):
    """Downsampling by 2: four neighbouring tokens become one with twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, grid: Tensor) -> Tensor:
        """(N, H, W, C) to (N, ceil(H/2), ceil(W/2), 2 C)."""
        if grid.shape[1] % 2 or grid.shape[2] % 2:
            grid = F.pad(grid, (0, 0, 0, grid.shape[2] % 2, 0, grid.shape[1] % 2))
        # In column-major order, as the weights expect.
        corners = grid.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(corners.flatten(3)))


class SwinStage(nn.Module):
    """Blocks at one resolution, every second one shifted, followed by downsampling."""

    def __init__(self, channels: int, depth: int, heads: int, window: int, merge: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window, shift=window // 2 if index % 2 else 0)
            for index in range(depth)
        )
        self.downsample = PatchMerging(channels) if merge else None

    def forward(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, H, W, C) of this resolution, and the input of the next stage."""
        height = grid.shape[1] + -grid.shape[1] % self.window
        width = grid.shape[2] + -grid.shape[2] % self.window
        mask = shifted_window_mask(height, width, self.window, grid.device)
        for block in self.blocks:
            grid = block(grid, mask)
        return grid, grid if self.downsample is None else self.downsample(grid)


class PatchEmbedding(nn.Module):
    """Embedding of non-overlapping 4x4 patches: projection and LayerNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, ceil(H/4), ceil(W/4), C)."""
        # Patches do not overlap: the convolution is a matrix multiplication, which is faster.
        weight = self.proj.weight.flatten(1)
        return self.norm(F.linear(self.patches(pixels), weight, self.proj.bias))

    @staticmethod
    def patches(pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, ceil(H/4), ceil(W/4), 48)."""
        if pixels.shape[2] % 4 or pixels.shape[3] % 4:
            pixels = F.pad(pixels, (0, -pixels.shape[3] % 4, 0, -pixels.shape[2] % 4))
        patches = pixels.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).permute(0, 2, 4, 1, 3, 5)
        return patches.flatten(3)


class SwinTransformer(nn.Module):
    """Backbone with feature maps at strides 4, 8, 16 and 32, each with its own LayerNorm."""

    def __init__(self, configuration: SwinConfiguration) -> None:
        super().__init__()
        channels = configuration.channels
        last = len(channels) - 1
        self.patch_embed = PatchEmbedding(channels[0])
        self.layers = nn.ModuleList(
            SwinStage(
                channels[stage],
                configuration.depths[stage],
                configuration.heads[stage],
                configuration.window,
                merge=stage < last,
            )
            for stage in range(len(channels))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(count) for count in channels)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised pixels to four (N, C, h, w) maps, finest first."""
        grid = self.patch_embed(pixels)
        outputs = []
        for layer, normalise in zip(self.layers, self.norms, strict=True):
            features, grid = layer(grid)
            outputs.append(normalise(features).permute(0, 3, 1, 2))
        return tuple(outputs)
