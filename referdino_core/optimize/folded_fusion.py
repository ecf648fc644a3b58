# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bi-directional attention of image and text, multiplied in the cheaper order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.network.fusion_encoder import BidirectionalAttention, FusionLayer
from referdino_core.ops.attention import long_softmax, masked_softmax
from referdino_core.ops.fusion_attention import fusion_attention
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import KernelLinear


class FoldedBidirectionalAttention(nn.Module):
    """`BidirectionalAttention` whose projections of the image are moved to the text's side.

    An image has thousands of tokens and a sentence a few, and matrix multiplication is associative:
    (v Wq) (l Wk)^T = v (Wq (l Wk)^T). So the three projections between d and the inner width are
    applied to the sentence's tokens, or to what they gathered from the image, in place of every
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
        to_text = masked_softmax(per_head, text_padding[:, None, None])
        values = (self.split(self.values_l_proj(text)) @ self.image_output).flatten(1, 2)
        image_update = to_text.flatten(-2) @ values + self.image_output_bias

        # Computed anew, transposed: cheaper than a softmax down the columns. What a text token adds
        # to all its logits, the softmax takes away.
        to_image = long_softmax(keys @ image.transpose(1, 2))
        seen = (to_image @ image).unflatten(1, (self.heads, length))
        text_update = seen @ self.image_value + self.image_value_bias
        return image_update, self.out_l_proj(text_update.transpose(1, 2).flatten(-2))


class KernelFusionLayer(nn.Module):
    """`FusionLayer` in float32, whose attention is one call of the CPU kernel.

    Everything linear between a text token and the image's channels is multiplied beforehand: the
    projections of `FoldedBidirectionalAttention`, and the gains.
    """

    def __init__(self, layer: FusionLayer, library: KernelLibrary) -> None:
        super().__init__()
        attention = FoldedBidirectionalAttention(layer.attn)
        self.library = library
        self.heads = attention.heads
        self.layer_norm_v, self.layer_norm_l = layer.layer_norm_v, layer.layer_norm_l
        self.fold = fold_text(attention, layer.gamma_v, library)
        self.text_update = unfold_image(attention, layer.gamma_l, library)
        self.bias = constant(attention.image_output_bias * layer.gamma_v)

    def forward(
        self, image: Tensor, text: Tensor, image_padding: Tensor | None, text_padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `FusionLayer.forward`, without padding of the image."""
        image, text = self.layer_norm_v(image), self.layer_norm_l(text)
        fused, seen = fusion_attention(
            self.library, image, self.fold(text), text_padding, self.bias, self.heads
        )
        return fused, self.text_update(seen, text)


def fold_text(
    attention: FoldedBidirectionalAttention, gain: Tensor, library: KernelLibrary
) -> KernelLinear:
    """From text tokens to the rows that `fusion_attention` takes."""
    shape = (attention.heads, -1, attention.l_proj.in_features)

    def per_head(projection: nn.Linear, following: Tensor) -> tuple[Tensor, Tensor]:
        """A projection (heads, inner, d), then (heads, inner, out): (heads, out, d) and bias."""
        following = following.double().transpose(1, 2)
        weight = following @ projection.weight.double().view(shape)
        bias = following @ projection.bias.double().view(*shape[:2], 1)
        return weight, bias.squeeze(-1)

    parts = (
        per_head(attention.l_proj, attention.key_weight),
        per_head(attention.values_l_proj, attention.image_output * gain),
        per_head(attention.l_proj, attention.key_bias),
    )
    weights, biases = zip(*parts, strict=True)
    return KernelLinear(
        torch.cat([weight.flatten(0, 1) for weight in weights]).float(),
        torch.cat([bias.flatten() for bias in biases]).float(),
        library,
    )


def unfold_image(
    attention: FoldedBidirectionalAttention, gain: Tensor, library: KernelLibrary
) -> KernelLinear:
    """From what each head of a text token saw, (heads * d), to the token's update."""
    output = attention.out_l_proj
    following = output.weight.double().unflatten(1, (attention.heads, -1)).transpose(0, 1)
    weight = following @ attention.image_value.double().transpose(1, 2)
    bias = following @ attention.image_value_bias.double().transpose(1, 2)
    return KernelLinear(
        (weight.transpose(0, 1).flatten(1) * gain[:, None]).float(),
        ((bias.sum(0).squeeze(-1) + output.bias) * gain).float(),
        library,
    )


def constant(tensor: Tensor) -> nn.Parameter:
    """A weight that is no longer trained."""
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)
