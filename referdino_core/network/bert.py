# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""BERT, the text backbone (Devlin et al., NAACL 2019).

Modules have the names of the released weights, hence `LayerNorm`, `self` and `layer`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.configuration import BertConfiguration

EPSILON = 1e-12
"""Added to the variance by every LayerNorm."""


class Embeddings(nn.Module):
    """Normalised sum of word, position and token type embeddings; all tokens are of type 0."""

    def __init__(self, configuration: BertConfiguration) -> None:
        super().__init__()
        width = configuration.width
        self.word_embeddings = nn.Embedding(configuration.vocabulary, width)
        self.position_embeddings = nn.Embedding(configuration.positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """(N, L) int64 token ids and their positions to (N, L, width)."""
        typed = self.word_embeddings(input_ids) + self.token_type_embeddings.weight[0]
        return self.LayerNorm(typed + self.position_embeddings(positions))


class SelfAttention(nn.Module):
    """Multi-head self-attention without its output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, tokens: Tensor, attn_mask: Tensor) -> Tensor:
        """(N, L, width) to the same shape; `attn_mask` broadcasts to (N, heads, L, L)."""
        query, key, value = (
            projection(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)
        return attended.transpose(1, 2).flatten(-2)


class Output(nn.Module):
    """Linear layer, residual and LayerNorm at the end of attention and feed-forward network."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, width)
        self.LayerNorm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """(..., hidden) and the residual's (..., width) to (..., width)."""
        return self.LayerNorm(self.dense(hidden) + tokens)


class Attention(nn.Module):
    """Self-attention, its output projection, residual and LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self = SelfAttention(width, heads)
        self.output = Output(width, width)

    def forward(self, tokens: Tensor, attn_mask: Tensor) -> Tensor:
        """(N, L, width) to the same shape; `attn_mask` broadcasts to (N, heads, L, L)."""
        return self.output(self.self(tokens, attn_mask), tokens)


class Intermediate(nn.Module):
    """First linear layer of the feed-forward network, with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) to (..., hidden)."""
        return F.gelu(self.dense(tokens))


class Layer(nn.Module):
    """Post-norm transformer layer: attention and feed-forward network."""

    def __init__(self, configuration: BertConfiguration) -> None:
        super().__init__()
        width, hidden = configuration.width, configuration.feed_forward
        self.attention = Attention(width, configuration.heads)
        self.intermediate = Intermediate(width, hidden)
        self.output = Output(hidden, width)

    def forward(self, tokens: Tensor, attn_mask: Tensor) -> Tensor:
        """(N, L, width) to the same shape; `attn_mask` broadcasts to (N, heads, L, L)."""
        tokens = self.attention(tokens, attn_mask)
        return self.output(self.intermediate(tokens), tokens)


class Encoder(nn.Module):
    """Stack of layers."""

    def __init__(self, configuration: BertConfiguration) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(configuration) for _ in range(configuration.layers))

    def forward(self, tokens: Tensor, attn_mask: Tensor) -> Tensor:
        """(N, L, width) to the same shape; `attn_mask` broadcasts to (N, heads, L, L)."""
        for layer in self.layer:
            tokens = layer(tokens, attn_mask)
        return tokens


class Bert(nn.Module):
    """BERT's embeddings and encoder, without pooling and dropout."""

    def __init__(self, configuration: BertConfiguration) -> None:
        super().__init__()
        self.embeddings = Embeddings(configuration)
        self.encoder = Encoder(configuration)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, input_ids: Tensor, positions: Tensor, attn_mask: Tensor) -> Tensor:
        """Encode sentences.

        Args:
            input_ids: (N, L) int64 token ids.
            positions: (N, L) int64 position of each token.
            attn_mask: (N, L, L) bool, True where a token attends to another; True on the diagonal.

        Returns:
            (N, L, width) hidden states of the last layer.
        """
        return self.encoder(self.embeddings(input_ids, positions), attn_mask[:, None])
