# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-modal fusion: features of one modality, modulated by attention to the other."""

from __future__ import annotations

from torch import Tensor, nn

from referdino_core.network.attention import MultiHeadAttention


class CrossModalFusion(nn.Module):
    """Cross-attention that is multiplied with its query, without residual or norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)

    def forward(
        self, features: Tensor, other: Tensor, positions: Tensor, padding: Tensor
    ) -> Tensor:
        """Fuse.

        Args:
            features: (B, Q, d) queries.
            other: (B, K, d) features of the other modality.
            positions: (B, K, d) position embedding of the other modality, added to its keys.
            padding: (B, K) bool, True on padding.

        Returns:
            (B, Q, d).
        """
        seen = ~padding[:, None, None, :]
        return features * self.attention(features, other + positions, other, attn_mask=seen)
