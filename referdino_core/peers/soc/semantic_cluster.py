# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Semantic integration module: frame queries of a clip to video-level queries."""

from __future__ import annotations

from torch import Tensor, nn

from referdino_core.network.attention import MultiHeadAttention
from referdino_core.network.layers import FeedForward, ResidualNorm
from referdino_core.peers.soc.configuration import SOCConfiguration


class AttentionLayer(nn.Module):
    """Multi-head attention with residual and norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)
        self.norm = ResidualNorm(width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, queries: Tensor) -> Tensor:
        """Attend with `query`, which is `queries` with positions, and add to `queries`."""
        return self.norm(queries, self.attention(query, key, value))


class FeedForwardLayer(nn.Module):
    """Feed-forward network with residual and norm."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.feed_forward = FeedForward(width, hidden)
        self.norm = ResidualNorm(width)

    def forward(self, queries: Tensor) -> Tensor:
        """(..., width) to the same shape."""
        return self.norm(queries, self.feed_forward(queries))


class SemanticCluster(nn.Module):
    """Encoder over all frame queries of a clip, and a decoder of video queries from the sentence.

    There is no encoding of time. Attention is quadratic in frames times queries.
    """

    def __init__(self, configuration: SOCConfiguration) -> None:
        super().__init__()
        c = configuration

        def attention_layers() -> nn.ModuleList:
            return nn.ModuleList(AttentionLayer(c.width, c.heads) for _ in range(c.cluster_layers))

        def feed_forward_layers() -> nn.ModuleList:
            return nn.ModuleList(
                FeedForwardLayer(c.width, c.feed_forward) for _ in range(c.cluster_layers)
            )

        self.encoder_attention, self.encoder_feed_forward = (
            attention_layers(),
            feed_forward_layers(),
        )
        self.cross_attention, self.self_attention = attention_layers(), attention_layers()
        self.feed_forward = feed_forward_layers()
        self.frame_positions = nn.Embedding(c.queries, c.width)
        self.query_positions = nn.Embedding(c.queries, c.width)
        self.norm = nn.LayerNorm(c.width)

    def forward(self, frame_queries: Tensor, sentence: Tensor) -> Tensor:
        """Video queries.

        Args:
            frame_queries: (B, T, Q, d) of one decoder layer.
            sentence: (B, d).

        Returns:
            (B, Q, d).
        """
        tokens = frame_queries.flatten(1, 2)
        for attend, feed_forward in zip(
            self.encoder_attention, self.encoder_feed_forward, strict=True
        ):
            tokens = feed_forward(attend(tokens, tokens, tokens, tokens))
        keys = tokens + self.frame_positions.weight.repeat(frame_queries.shape[1], 1)
        positions = self.query_positions.weight
        queries = sentence[:, None].expand(-1, len(positions), -1)
        for cross, attend, feed_forward in zip(
            self.cross_attention, self.self_attention, self.feed_forward, strict=True
        ):
            queries = cross(queries + positions, keys, tokens, queries)
            located = queries + positions
            queries = feed_forward(attend(located, located, queries, queries))
        return self.norm(queries)
