# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Swin's stages at one image size: masks and biases made once, windows fused where a kernel is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.inference.fusion_attention import constant
from referdino_core.kernels import FusedKernel
from referdino_core.network.swin_transformer import (
    SwinBlock,
    SwinStage,
    WindowAttention,
    partition_windows,
    shifted_window_mask,
    window_regions,
)

BEYOND = -1
"""Number of a cell that padding to whole windows has added."""


class KernelSwinBlock(nn.Module):
    """A Swin block at one size, whose windows are a table of cell numbers for the CPU kernel."""

    def __init__(self, block: SwinBlock, height: int, width: int, kernel: FusedKernel) -> None:
        super().__init__()
        attention, window, shift = block.attn, block.window, block.shift
        self.kernel = kernel
        self.heads = attention.heads
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        self.qkv, self.proj = attention.qkv, attention.proj
        # What a cell beyond the border, a zero, is projected to.
        self.padding = constant(attention.qkv.bias)
        # By key, then by query, whose number the kernel wants in eights.
        bias = attention.bias().float().transpose(1, 2)
        self.bias = constant(F.pad(bias, (0, -bias.shape[-1] % 8)))
        cells = torch.arange(height * width, dtype=torch.int32).view(1, height, width, 1)
        cells = F.pad(cells, (0, 0, 0, -width % window, 0, -height % window), value=BEYOND)
        regions = None
        if shift:
            cells = cells.roll((-shift, -shift), dims=(1, 2))
            regions = window_regions(cells.shape[1], cells.shape[2], window, cells.device)
            regions = regions.to(torch.uint8).contiguous()
        self.cells: Tensor
        self.regions: Tensor | None
        self.register_buffer("cells", partition_windows(cells, window).squeeze(-1).contiguous())
        self.register_buffer("regions", regions)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, height * width, C) to the same shape."""
        attended = self.kernel.window_attention(
            self.qkv(self.norm1(tokens)), self.padding, self.cells, self.regions, self.bias
        )
        tokens = tokens + self.proj(attended)
        return tokens + self.mlp(self.norm2(tokens))


class KernelSwinStage(nn.Module):
    """`SwinStage` at one size through the CPU kernel."""

    def __init__(self, stage: SwinStage, height: int, width: int, kernel: FusedKernel) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            KernelSwinBlock(cast(SwinBlock, block), height, width, kernel) for block in stage.blocks
        )
        self.downsample = stage.downsample

    def forward(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """As `SwinStage.forward`."""
        tokens = grid.flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        grid = tokens.view(grid.shape)
        return grid, grid if self.downsample is None else self.downsample(grid)


class CachedWindowAttention(WindowAttention):
    """`WindowAttention` with its bias, and the mask of shifted windows, computed once."""

    def __init__(self, attention: WindowAttention, mask: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.heads = attention.heads
        self.qkv, self.proj = attention.qkv, attention.proj
        bias = attention.bias()[None].detach()
        self.mask = constant(bias if mask is None else bias + mask[:, None])

    def logit_bias(self, mask: Tensor | None, batch: int) -> Tensor:
        """(batch or 1, heads, cells, cells), the mask included."""
        repeats = batch // len(self.mask)
        if len(self.mask) == 1 or repeats == 1:
            return self.mask
        return self.mask.repeat(repeats, 1, 1, 1)


class CachedSwinStage(nn.Module):
    """`SwinStage` at one size, in PyTorch's own operators."""

    def __init__(self, stage: SwinStage, height: int, width: int) -> None:
        super().__init__()
        self.blocks = stage.blocks
        self.downsample = stage.downsample
        height, width = height + -height % stage.window, width + -width % stage.window
        device = next(stage.parameters()).device
        mask = shifted_window_mask(height, width, stage.window, device)
        for block in cast(Iterable[SwinBlock], stage.blocks):
            block.attn = CachedWindowAttention(block.attn, mask if block.shift else None)

    def forward(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """As `SwinStage.forward`."""
        for block in self.blocks:
            grid = block(grid, None)
        return grid, grid if self.downsample is None else self.downsample(grid)
