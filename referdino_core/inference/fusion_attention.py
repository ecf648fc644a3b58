# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bi-directional attention of image and text with the products in the cheaper order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.network.fusion_encoder import BidirectionalAttention


class FoldedBidirectionalAttention(nn.Module):
    """`BidirectionalAttention` whose projections of the image are moved to the text's side.

    An image has thousands of tokens and a sentence a few, and matrix products may be bracketed
    anew: (v Wq) (l Wk)^T = v (Wq (l Wk)^T). So the three projections between d and the inner width
    are applied to the sentence's tokens, or to what they gathered from the image, in place of every
    image token: a factor of inner width / (heads x L) less work. Attention weights sum to one, so
    that the biases of values pass through unchanged.

    Takes no padding of the image: an image that is prepared for has none.
    """

    def __init__(self, attention: BidirectionalAttention) -> None:
        super().__init__()
        heads, width = attention.heads, attention.v_proj.in_features
        inner = attention.v_proj.out_features // heads
        scale = inner**-0.5
        self.heads = heads
        self.l_proj = attention.l_proj
        self.values_l_proj = attention.values_l_proj
        self.out_l_proj = attention.out_l_proj
        self.key_weight = constant(attention.v_proj.weight.view(heads, inner, width) * scale)
        self.key_bias = constant(attention.v_proj.bias.view(heads, inner, 1) * scale)
        self.image_output = constant(
            attention.out_v_proj.weight.view(width, heads, inner).permute(1, 2, 0)
        )
        self.image_output_bias = constant(attention.out_v_proj.bias)
        self.image_value = constant(
            attention.values_v_proj.weight.view(heads, inner, width).transpose(1, 2)
        )
        self.image_value_bias = constant(attention.values_v_proj.bias.view(heads, 1, inner))

    def split(self, tokens: Tensor) -> Tensor:
        """(N, tokens, inner) to (N, heads, tokens, inner / heads)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, image: Tensor, text: Tensor, image_padding: Tensor | None, text_padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Updates (N, S, d) and (N, L, d) for image tokens, (N, S, d) or (1, S, d), and text."""
        length = text.shape[1]
        keys = self.split(self.l_proj(text))
        offsets = (keys @ self.key_bias).flatten(1)[:, None]
        keys = (keys @ self.key_weight).flatten(1, 2)

        per_head = (image @ keys.transpose(1, 2) + offsets).unflatten(-1, (self.heads, length))
        to_text = per_head.masked_fill(text_padding[:, None, None], -torch.inf).softmax(-1)
        values = (self.split(self.values_l_proj(text)) @ self.image_output).flatten(1, 2)
        image_update = to_text.flatten(-2) @ values + self.image_output_bias

        # Computed anew, transposed: cheaper than a softmax down the columns. What a text token adds
        # to all its logits, the softmax takes away.
        to_image = (keys @ image.transpose(1, 2)).softmax(-1)
        seen = (to_image @ image).unflatten(1, (self.heads, length))
        text_update = seen @ self.image_value + self.image_value_bias
        return image_update, self.out_l_proj(text_update.transpose(1, 2).flatten(-2))


def constant(tensor: Tensor) -> nn.Parameter:
    """A weight that is no longer trained."""
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)
