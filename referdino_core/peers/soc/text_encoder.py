# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Text encoder: RoBERTa, and one projection for tokens and pooled sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from referdino_core.errors import RuntimeUnavailable
from referdino_core.network.position_encoding import SineEmbedding
from referdino_core.peers.loading import INSTALL
from referdino_core.peers.soc.configuration import RobertaSizes, SOCConfiguration

PADDING_ID = 1


@dataclass(frozen=True)
class SentenceFeatures:
    """Encoded sentences of B clips, padded to a common length L.

    Attributes:
        tokens: (B, L, d) features, including <s> and </s>.
        sentence: (B, d) features of the whole sentence.
        padding: (B, L) bool, True on padding.
        positions: (B, L, d) sine embedding of token positions.
    """

    tokens: Tensor
    sentence: Tensor
    padding: Tensor
    positions: Tensor


def roberta(sizes: RobertaSizes) -> nn.Module:
    """RoBERTa with its pooler, with random weights.

    Raises:
        RuntimeUnavailable: transformers is not installed.
    """
    try:
        from transformers import RobertaConfig, RobertaModel
    except ImportError as error:
        raise RuntimeUnavailable(
            f"SOC reads sentences with RoBERTa of transformers; install it with: {INSTALL}"
        ) from error
    return RobertaModel(
        RobertaConfig(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            intermediate_size=sizes.feed_forward,
            max_position_embeddings=sizes.positions,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=PADDING_ID,
            bos_token_id=0,
            eos_token_id=2,
        )
    )


class TextProjection(nn.Module):
    """Linear layer and LayerNorm."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, width)
        self.layer_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, features: Tensor) -> Tensor:
        """(..., inputs) to (..., width)."""
        return self.layer_norm(self.fc(features))


class SentenceEncoder(nn.Module):
    """RoBERTa, followed by the same projection of tokens and pooled sentence."""

    def __init__(self, configuration: SOCConfiguration) -> None:
        super().__init__()
        self.roberta = roberta(configuration.roberta)
        self.projection = TextProjection(configuration.roberta.width, configuration.width)
        self.position_embedding = SineEmbedding(configuration.width, 10000.0)

    def forward(self, input_ids: Tensor, padding: Tensor) -> SentenceFeatures:
        """Encode (B, L) int64 token ids with <s> and </s>; padding is (B, L) bool."""
        encoded = self.roberta(input_ids=input_ids, attention_mask=(~padding).long())
        counted = (~padding).float().cumsum(1)
        angles = counted / (counted[:, -1:] + 1e-6) * (2 * math.pi)
        return SentenceFeatures(
            self.projection(encoded.last_hidden_state),
            self.projection(encoded.pooler_output),
            padding,
            self.position_embedding(angles),
        )


def mean_of_tokens(tokens: Tensor, padding: Tensor) -> Tensor:
    """(B, d) mean of the (B, L, d) token features that are not padding."""
    real = (~padding).to(tokens.dtype)
    return torch.einsum("bld,bl->bd", tokens, real) / real.sum(1, keepdim=True)
