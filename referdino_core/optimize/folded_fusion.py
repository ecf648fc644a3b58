# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bi-directional attention of image and text, with the cheaper order of multiplications."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.network.fusion_encoder import BidirectionalAttention, FusionLayer
from referdino_core.ops.attention import long_softmax, masked_softmax
from referdino_core.ops.fusion_attention import fusion_attention
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import KernelLinear


class FoldedBidirectionalAttention(nn.Module):
    """`BidirectionalAttention` with the projections of the image moved to the text.

    An image has thousands of tokens and a sentence a few, and matrix multiplication is associative:
    (v Wq) (l Wk)^T = v (Wq (l Wk)^T). The three projections between d and the inner width are
    therefore applied to the tokens of the sentence, or to the features that they gathered, in place
    of every image token, which reduces the work by a factor of inner width / (heads x L). Attention
    weights sum to one, so that the biases of values pass through unchanged.

    Images are not padded.
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

        # Recomputed in transposed form, which is cheaper than a softmax over columns. The offsets
        # are constant along the softmax and cancel out.
        to_image = long_softmax(keys @ image.transpose(1, 2))
        seen = (to_image @ image).unflatten(1, (self.heads, length))
        text_update = seen @ self.image_value + self.image_value_bias
        return image_update, self.out_l_proj(text_update.transpose(1, 2).flatten(-2))


class KernelFusionLayer(nn.Module):
    """`FusionLayer` in float32, with attention in one call of the CPU kernel.

    The projections of `FoldedBidirectionalAttention` and the gains are multiplied in advance.
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
    """The layer from text tokens to the folded rows of `fusion_attention`."""
    shape = (attention.heads, -1, attention.l_proj.in_features)

    def per_head(projection: nn.Linear, following: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (heads, out, d) and bias of a projection followed by (heads, inner, out)."""
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
    """The layer from features gathered by a text token's heads, (heads * d), to its update."""
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
    """A contiguous parameter that is not trained."""
    return nn.Parameter(tensor.detach().contiguous(), requires_grad=False)
