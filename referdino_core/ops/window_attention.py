# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Swin's window attention of whole images on CPUs: windows are a table of token numbers.

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
        ("window_cells", _POINTER),
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
    """Attention inside windows; no gradients.

    Args:
        projections: (N, S, 3 C) queries, keys and values, float32 or bfloat16.
        padding: (3 C,) what a token beyond the border projects to.
        window_tokens: (W, K) int32 token at every place of every window, -1 beyond.
        regions: (W, K) uint8, tokens of different regions do not see each other.
        bias: (heads, K, padded) added to the logits of every key and query, the number of queries
            padded to a multiple of 8.

    Returns:
        (N, S, C) like the projections.
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
    """Window attention with the norm before it, its projections and the residual around it.

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
