# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scaled dot-product attention: formula, ONNX form, and the CPU kernel of a whole block.

Shapes are written with N images, M heads, Q queries, K keys and D channels per head.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import LinearWeights, NormWeights

_INDEX = ctypes.c_int64


def attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention.

    Args:
        query: (N, M, Q, D). key, value: (N, M, K, D).
        attn_mask: bool, True where a query attends to a key; broadcasts to (N, M, Q, K).

    Returns:
        (N, M, Q, D).
    """
    if torch.onnx.is_in_onnx_export():
        return attention_with_weights(query, key, value, attn_mask)[0]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)


def attention_with_weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `attention`, with the attention weights (N, M, Q, K)."""
    scale = int(query.shape[-1]) ** -0.5
    logits = (query * scale) @ key.transpose(-1, -2)
    weights = masked_softmax(logits, None if attn_mask is None else ~attn_mask)
    # Exported weights are float32, for the scores that are computed from them.
    kept = weights.float() if torch.onnx.is_in_onnx_export() else weights
    return weights @ value, kept


def masked_softmax(logits: Tensor, hidden: Tensor | None) -> Tensor:
    """Softmax over the last axis, without hidden entries, in the precision of the logits.

    Exports mask with minus infinity in float32, since not every runtime supports it in half
    precision.
    """
    if hidden is None:
        return logits.softmax(-1)
    if not torch.onnx.is_in_onnx_export():
        return logits.masked_fill(hidden, -torch.inf).softmax(-1)
    return logits.float().masked_fill(hidden, -torch.inf).softmax(-1).to(logits.dtype)


def long_softmax(logits: Tensor) -> Tensor:
    """Softmax over a last axis with thousands of entries; in float32 in exports."""
    if not torch.onnx.is_in_onnx_export():
        return logits.softmax(-1)
    return logits.float().softmax(-1).to(logits.dtype)


class AttentionWeights(ctypes.Structure):
    """``AttentionWeights`` of blocks.h."""

    _fields_ = (
        ("positioned", LinearWeights),
        ("source", LinearWeights),
        ("output", LinearWeights),
        ("after", NormWeights),
        ("heads", _INDEX),
    )


def attention_block(
    library: KernelLibrary,
    tokens: Tensor,
    weights: AttentionWeights,
    positions: Tensor | None = None,
    context: Tensor | None = None,
    attn_mask: Tensor | None = None,
    attention: Tensor | None = None,
) -> Tensor:
    """Multi-head attention with projections, residual, and the norm after it.

    Args:
        tokens: (N, Q, d) float32.
        weights: prepacked.
        positions: (N, Q, d) or (1, Q, d), added to queries and, in self-attention, to keys.
        context: (N, K, d) for cross-attention; None for self-attention.
        attn_mask: (N, 1 or Q, K) bool, True where a query attends to a key.
        attention: (N, M, Q, K), overwritten with the attention weights.

    Returns:
        (N, Q, d).
    """
    tokens = tokens.contiguous()
    output = torch.empty_like(tokens)
    batch, count, _ = tokens.shape
    if positions is not None:
        positions = positions.expand_as(tokens).contiguous()
    if context is not None:
        context = context.contiguous()
    if attn_mask is not None:
        attn_mask = attn_mask.contiguous()
    library.functions.referdino_attention_block(
        ctypes.byref(weights),
        tokens.data_ptr(),
        None if positions is None else positions.data_ptr(),
        None if context is None else context.data_ptr(),
        None if attn_mask is None else attn_mask.data_ptr(),
        0 if attn_mask is None else attn_mask.shape[1],
        None if attention is None else attention.data_ptr(),
        output.data_ptr(),
        *(batch, count, 0 if context is None else context.shape[1]),
        torch.get_num_threads(),
    )
    return output
