# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bi-directional attention of image and text on CPUs, with folded projections.

The formula is `optimize.folded_fusion.FoldedBidirectionalAttention`, which is equivalent to the
network's `BidirectionalAttention` but needs less work.
"""

from __future__ import annotations

import torch
from torch import Tensor

from referdino_core.ops.library import KernelLibrary


def fusion_attention(
    library: KernelLibrary,
    image: Tensor,
    folded: Tensor,
    text_padding: Tensor,
    bias: Tensor,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Bi-directional attention of image tokens and the tokens of N sentences, without gradients.

    Args:
        image: (N, S, d) float32, or (1, S, d) for all sentences.
        folded: (N, L, heads * (2 d + 1)): keys of all heads in the image's channels, then values,
            then offsets of the logits.
        text_padding: (N, L) bool, True on padding.
        bias: (d,).

    Returns:
        The image (N, S, d) plus the bias and its attention to the text, and the attention of
        every head of a text token to the image, (N, L, heads * d).
    """
    image, folded, text_padding = (t.contiguous() for t in (image, folded, text_padding))
    batch, tokens, _ = folded.shape
    _, image_tokens, width = image.shape
    fused = image.new_empty(batch, image_tokens, width)
    seen = image.new_empty(batch, tokens, heads * width)
    library.functions.referdino_fusion_attention(
        image.data_ptr(),
        folded.data_ptr(),
        text_padding.data_ptr(),
        bias.data_ptr(),
        fused.data_ptr(),
        seen.data_ptr(),
        *(len(image), batch, image_tokens, width, heads, tokens),
        torch.get_num_threads(),
    )
    return fused, seen
