# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Swin's window attention on CPUs, with a table of token indices in place of window copies.

The formula is `network.swin_transformer.WindowAttention`. Shapes are written with N images, S
tokens, W windows of size K and C channels.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import LinearWeights, NormWeights

_POINTER, _INDEX = ctypes.c_void_p, ctypes.c_int64


class WindowAttentionWeights(ctypes.Structure):
    """``WindowAttentionWeights`` of blocks.h."""

    _fields_ = (
        ("before", NormWeights),
        ("projection", LinearWeights),
        ("output", LinearWeights),
        ("window_tokens", _POINTER),
        ("regions", _POINTER),
        ("bias", _POINTER),
        ("windows", _INDEX),
        ("size", _INDEX),
        ("heads", _INDEX),
    )


def window_attention(
    library: KernelLibrary,
    projections: Tensor,
    padding: Tensor,
    window_tokens: Tensor,
    regions: Tensor | None,
    bias: Tensor,
) -> Tensor:
    """Self-attention within windows, without gradients.

    Args:
        projections: (N, S, 3 C) queries, keys and values, float32 or bfloat16.
        padding: (3 C,) projection of a token beyond the border.
        window_tokens: (W, K) int32 index of every token of every window, -1 beyond the border.
        regions: (W, K) uint8; attention stays within a region. None for unshifted windows.
        bias: (heads, K, padded), added to the logits by key and query; the number of queries is
            padded to a multiple of 8.

    Returns:
        (N, S, C) of the type of the projections.
    """
    projections = projections.contiguous()
    images, tokens, width = projections.shape
    windows, size = window_tokens.shape
    output = projections.new_empty(images, tokens, width // 3)
    library.functions.referdino_window_attention(
        projections.data_ptr(),
        padding.data_ptr(),
        window_tokens.data_ptr(),
        None if regions is None else regions.data_ptr(),
        bias.data_ptr(),
        output.data_ptr(),
        *(images, tokens, windows, size, len(bias), width // 3 // len(bias)),
        projections.dtype == torch.bfloat16,
        torch.get_num_threads(),
    )
    return output


def window_block(library: KernelLibrary, tokens: Tensor, weights: WindowAttentionWeights) -> Tensor:
    """Window attention with the norm before it, projections and residual.

    Args:
        tokens: (N, S, C) float32.
        weights: prepacked.

    Returns:
        (N, S, C).
    """
    tokens = tokens.contiguous()
    output = torch.empty_like(tokens)
    library.functions.referdino_window_block(
        ctypes.byref(weights),
        tokens.data_ptr(),
        output.data_ptr(),
        *(len(tokens), tokens.shape[1]),
        torch.get_num_threads(),
    )
    return output
