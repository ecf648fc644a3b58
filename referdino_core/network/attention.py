# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-head attention, and the layer shared by the query decoder and the mask decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.layers import FeedForward, ResidualNorm
from referdino_core.ops.attention import attention, attention_with_weights


class MultiHeadAttention(nn.Module):
    """Multi-head scaled dot-product attention with a joint input projection, batch first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project the inputs, each to (N, heads, tokens, width / heads)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            F.linear(tokens, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        return query, key, value

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            query: (N, Q, d); key, value: (N, K, d).
            attn_mask: bool, True where a query attends to a key; broadcasts to (N, heads, Q, K).

        Returns:
            (N, Q, d).
        """
        attended = attention(*self.project(query, key, value), attn_mask)
        return self.out_proj(attended.transpose(1, 2).flatten(-2))

    def with_weights(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, with the attention weights (N, heads, Q, K)."""
        attended, weights = attention_with_weights(*self.project(query, key, value), attn_mask)
        return self.out_proj(attended.transpose(1, 2).flatten(-2)), weights


class DecoderLayer(nn.Module):
    """Self-attention, text cross-attention, deformable image cross-attention, feed-forward."""

    def __init__(self, width: int, heads: int, levels: int, points: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads)
        self.norm2 = ResidualNorm(width)
        self.ca_text = MultiHeadAttention(width, heads)
        self.catext_norm = ResidualNorm(width)
        self.cross_attn = DeformableAttention(width, heads, levels, points)
        self.norm1 = ResidualNorm(width)
        self.feed_forward = FeedForward(width, feed_forward)
        self.norm3 = ResidualNorm(width)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        references: Tensor,
        text: Tensor,
        text_padding: Tensor,
        memory: Tensor,
        memory_padding: Tensor | None,
        spatial_shapes: tuple[tuple[int, int], ...],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refine queries.

        Args:
            queries: (N, Q, d) content; positions: (N, Q, d) query positions.
            references: (N, Q, levels, 4) boxes, scaled by the levels' valid ratios.
            text: (N, L, d); text_padding: (N, L) bool.
            memory: (N, S, d) image features; memory_padding: (N, S) bool, or None.
            spatial_shapes: (height, width) of every level in `memory`.

        Returns:
            The queries (N, Q, d), the self-attention weights (N, heads, Q, Q) and the text
            cross-attention weights (N, heads, Q, L).
        """
        positioned = queries + positions
        attended, query_weights = self.self_attn.with_weights(positioned, positioned, queries)
        queries = self.norm2(queries, attended)
        attended, text_weights = self.ca_text.with_weights(
            queries + positions, text, text, attn_mask=~text_padding[:, None, None, :]
        )
        queries = self.catext_norm(queries, attended)
        attended = self.cross_attn(
            queries + positions, references, memory, spatial_shapes, memory_padding
        )
        queries = self.norm1(queries, attended)
        queries = self.norm3(queries, self.feed_forward(queries))
        return queries, query_weights, text_weights
