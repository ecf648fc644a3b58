# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Similarity of queries to the best-fitting token of a sentence: formula and CPU kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from referdino_core.ops.library import KernelLibrary, inference_kernels_for


def token_similarity(
    queries: Tensor,
    text: Tensor,
    text_padding: Tensor,
    log_scale: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    """Highest dot product of each query with a token that is no padding.

    Args:
        queries: (..., Q, d); text: (..., L, d).
        text_padding: (..., L) bool, True on padding. All three broadcast.
        log_scale, offset: scalars; the result is multiplied by the exponential of the first, and
            the second is added.

    Returns:
        (..., Q) in the precision of the queries; minus infinity for a sentence of padding.
    """
    scalars = [scalar for scalar in (log_scale, offset) if scalar is not None]
    library = inference_kernels_for(queries, text, *scalars)
    if library is not None:
        return fused_token_similarity(library, queries, text, text_padding, log_scale, offset)
    similarities = queries @ text.transpose(-1, -2)
    highest = similarities.masked_fill(text_padding[..., None, :], -torch.inf).amax(-1)
    if log_scale is not None:
        highest = highest * log_scale.exp()
    return highest if offset is None else highest + offset


def fused_token_similarity(
    library: KernelLibrary,
    queries: Tensor,
    text: Tensor,
    text_padding: Tensor,
    log_scale: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    """`token_similarity` of float32 tensors through the CPU kernel; no gradients."""
    tokens, width = text.shape[-2:]
    if not queries.shape[:-2] == text.shape[:-2] == text_padding.shape[:-1]:
        batch = torch.broadcast_shapes(queries.shape[:-2], text.shape[:-2], text_padding.shape[:-1])
        queries = queries.expand(*batch, -1, -1)
        text = text.expand(*batch, -1, -1)
        text_padding = text_padding.expand(*batch, -1)
    queries, text, text_padding = (t.contiguous() for t in (queries, text, text_padding))
    similarity = queries.new_empty(queries.shape[:-1])
    library.functions.referdino_token_similarity(
        queries.data_ptr(),
        text.data_ptr(),
        text_padding.data_ptr(),
        None if log_scale is None else log_scale.data_ptr(),
        None if offset is None else offset.data_ptr(),
        similarity.data_ptr(),
        *(text.numel() // (tokens * width), queries.shape[-2], tokens, width),
        torch.get_num_threads(),
    )
    return similarity
