# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Swin's stages for one image size, with precomputed masks and biases, and the CPU kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.network.swin_transformer import (
    SwinBlock,
    SwinStage,
    WindowAttention,
    partition_windows,
    shifted_window_mask,
    window_regions,
)
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import FeedForwardBlock, KernelLinear, fast_linear, norm_weights
from referdino_core.ops.window_attention import (
    WindowAttentionWeights,
    window_attention,
    window_block,
)
from referdino_core.optimize.folded_fusion import constant
from referdino_core.optimize.transformer_layers import blockwise_swin

BEYOND = -1
"""Index of tokens that padding to whole windows has added."""


class WindowTable(nn.Module):
    """Table of a block's windows for one image size, with the bias of its logits.

    Attributes:
        tokens: (windows, size) int32 index of every token of every window.
        regions: (windows, size) uint8; attention stays within a region. None for unshifted windows.
        bias: (heads, size, padded) float32, by key and query; the number of queries is padded to a
            multiple of 8 for the kernel.
    """

    def __init__(self, block: SwinBlock, height: int, width: int) -> None:
        super().__init__()
        window, shift = block.window, block.shift
        bias = block.attn.bias().float().transpose(1, 2)
        self.bias = constant(F.pad(bias, (0, -bias.shape[-1] % 8)))
        tokens = torch.arange(height * width, dtype=torch.int32).view(1, height, width, 1)
        tokens = F.pad(tokens, (0, 0, 0, -width % window, 0, -height % window), value=BEYOND)
        regions = None
        if shift:
            tokens = tokens.roll((-shift, -shift), dims=(1, 2))
            regions = window_regions(tokens.shape[1], tokens.shape[2], window, tokens.device)
            regions = regions.to(torch.uint8).contiguous()
        self.tokens: Tensor
        self.regions: Tensor | None
        self.register_buffer("tokens", partition_windows(tokens, window).squeeze(-1).contiguous())
        self.register_buffer("regions", regions)


class WindowTableSwinBlock(nn.Module):
    """Swin block for one image size, with window attention in the CPU kernel."""

    def __init__(self, block: SwinBlock, height: int, width: int, library: KernelLibrary) -> None:
        super().__init__()
        attention = block.attn
        self.library = library
        self.table = WindowTable(block, height, width)
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.mlp = blockwise_swin(block.mlp)
        self.qkv, self.proj = fast_linear(attention.qkv), fast_linear(attention.proj)
        # Projection of the zeros beyond the border.
        self.padding = constant(attention.qkv.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, height * width, C) to the same shape."""
        table = self.table
        attended = window_attention(
            self.library,
            self.qkv(self.norm1(tokens)),
            self.padding,
            table.tokens,
            table.regions,
            table.bias,
        )
        tokens = self.proj(attended, tokens)
        return self.mlp(self.norm2(tokens), tokens)


class FusedSwinBlock(nn.Module):
    """Swin block for one image size in float32, in two calls of the CPU kernel."""

    def __init__(self, block: SwinBlock, height: int, width: int, library: KernelLibrary) -> None:
        super().__init__()
        attention, norm = block.attn, block.norm1
        self.library = library
        self.table = WindowTable(block, height, width)
        self.norm = norm
        self.qkv = KernelLinear(attention.qkv.weight, attention.qkv.bias, library)
        self.proj = KernelLinear(attention.proj.weight, attention.proj.bias, library)
        regions = self.table.regions
        self.weights = WindowAttentionWeights(
            before=norm_weights(norm),
            projection=self.qkv.weights,
            output=self.proj.weights,
            window_tokens=self.table.tokens.data_ptr(),
            regions=None if regions is None else regions.data_ptr(),
            bias=self.table.bias.data_ptr(),
            windows=len(self.table.tokens),
            size=self.table.tokens.shape[1],
            heads=attention.heads,
        )
        self.feed_forward = FeedForwardBlock(
            block.mlp.fc1, block.mlp.fc2, "gelu", library, before=block.norm2
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, height * width, C) to the same shape."""
        return self.feed_forward(window_block(self.library, tokens, self.weights))


class KernelSwinStage(nn.Module):
    """`SwinStage` for one image size, with the CPU kernels."""

    def __init__(self, stage: SwinStage, height: int, width: int, library: KernelLibrary) -> None:
        super().__init__()
        blocks = cast(Sequence[SwinBlock], stage.blocks)
        is_exact = blocks[0].norm1.weight.dtype is torch.float32
        kind = FusedSwinBlock if is_exact and library.has_fast_matmul else WindowTableSwinBlock
        self.blocks = nn.ModuleList(kind(block, height, width, library) for block in blocks)
        self.downsample = stage.downsample

    def forward(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """As `SwinStage.forward`."""
        tokens = grid.flatten(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        grid = tokens.view(grid.shape)
        return grid, grid if self.downsample is None else self.downsample(grid)


class CachedWindowAttention(WindowAttention):
    """`WindowAttention` with precomputed bias and mask of shifted windows."""

    def __init__(self, attention: WindowAttention, mask: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.heads = attention.heads
        self.qkv, self.proj = attention.qkv, attention.proj
        bias = attention.bias()[None].detach()
        self.mask = constant(bias if mask is None else bias + mask[:, None])

    def logit_bias(self, mask: Tensor | None, batch: int) -> Tensor:
        """(batch or 1, heads, tokens, tokens) bias, including the mask."""
        repeats = batch // len(self.mask)
        if len(self.mask) == 1 or repeats == 1:
            return self.mask
        return self.mask.repeat(repeats, 1, 1, 1)


class CachedSwinStage(nn.Module):
    """`SwinStage` for one image size, in PyTorch's operators."""

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
