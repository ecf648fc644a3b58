# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Attention as it is exported: masks of minus infinity are applied in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.inference.fusion_attention import FoldedBidirectionalAttention
from referdino_core.network.attention import MultiHeadAttention


def masked_softmax(logits: Tensor, masked: Tensor) -> Tensor:
    """Softmax over the last axis without masked logits: in float32, returned in their precision."""
    return logits.float().masked_fill(masked, -torch.inf).softmax(-1).to(logits.dtype)


class ExportedAttention(MultiHeadAttention):
    """`MultiHeadAttention` in operators that every runtime knows."""

    def __init__(self, attention: MultiHeadAttention) -> None:
        nn.Module.__init__(self)
        self.heads = attention.heads
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None
    ) -> Tensor:
        """As `MultiHeadAttention.forward`."""
        return self.with_weights(query, key, value, visible)[0]

    def with_weights(
        self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `MultiHeadAttention.with_weights`; its weights, for scores, in float32."""
        query, key, value = self.project(query, key, value)
        logits = (query * int(query.shape[-1]) ** -0.5) @ key.transpose(-1, -2)
        weights = logits.softmax(-1) if visible is None else masked_softmax(logits, ~visible)
        return self.out_proj((weights @ value).transpose(1, 2).flatten(-2)), weights.float()


class ExportedFusionAttention(FoldedBidirectionalAttention):
    """`FoldedBidirectionalAttention` with both softmaxes in float32."""

    def forward(
        self, image: Tensor, text: Tensor, image_padding: Tensor | None, text_padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `FoldedBidirectionalAttention.forward`."""
        length = text.shape[1]
        keys = self.split(self.l_proj(text))
        offsets = (keys @ self.key_bias).flatten(1)[:, None]
        logits = image @ (keys @ self.key_weight).flatten(1, 2).transpose(1, 2) + offsets

        to_text = masked_softmax(
            logits.unflatten(-1, (self.heads, length)), text_padding[:, None, None]
        )
        values = (self.split(self.values_l_proj(text)) @ self.image_output).flatten(1, 2)
        image_update = to_text.flatten(-2) @ values + self.image_output_bias

        to_image = logits.transpose(1, 2).float().softmax(-1).to(logits.dtype)
        seen = (to_image @ image).unflatten(1, (self.heads, length))
        text_update = seen @ self.image_value + self.image_value_bias
        return image_update, self.out_l_proj(text_update.transpose(1, 2).flatten(-2))
