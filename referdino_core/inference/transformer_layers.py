# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Transformer layers in float32 whose blocks are one call of the CPU kernels each.

A block is attention or a feed-forward network with the residual around it and the norm beside it.
Layers of few tokens are made of dozens of operators that take microseconds each; so few calls
leave the time to the products.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from referdino_core.inference.deformable_attention import KernelDeformableAttention
from referdino_core.inference.linear import KernelLinear, KernelResidualNorm
from referdino_core.kernels import FusedKernel
from referdino_core.kernels.weights import (
    ACTIVATIONS,
    Activation,
    AttentionWeights,
    DeformableAttentionWeights,
    FeedForwardWeights,
    NormWeights,
    norm_weights,
)
from referdino_core.network.attention import DecoderLayer, MultiHeadAttention
from referdino_core.network.deformable_attention import DeformableAttention, SpatialShapes
from referdino_core.network.fusion_encoder import ImageLayer, TextLayer
from referdino_core.network.image_geometry import ImageGeometry
from referdino_core.network.layers import FeedForward, ResidualNorm
from referdino_core.network.position_encoding import LOGIT_EPSILON
from referdino_core.network.temporal_decoder import TemporalLayer


class FeedForwardBlock(nn.Module):
    """A feed-forward network and the residual around it, with a norm before or after.

    Args:
        first, second: the layers. activation: between them.
        before: normalises what the network sees, as in Swin; or None.
        after: normalises the sum, as in the other transformers; or None.
    """

    def __init__(
        self,
        first: nn.Linear,
        second: nn.Linear,
        activation: Activation,
        kernel: FusedKernel,
        before: nn.LayerNorm | None = None,
        after: ResidualNorm | None = None,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.first = KernelLinear(first.weight, first.bias, kernel)
        self.second = KernelLinear(second.weight, second.bias, kernel)
        self.before, self.after = before, after
        self.weights = FeedForwardWeights(
            before=NormWeights()
            if before is None
            else norm_weights(before.weight, before.bias, before.eps),
            first=self.first.weights,
            activation=ACTIVATIONS[activation],
            second=self.second.weights,
            after=NormWeights()
            if after is None
            else norm_weights(after.weight, after.bias, after.eps),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) to the same shape."""
        return self.kernel.feed_forward(tokens, self.weights)


def feed_forward_block(
    feed_forward: FeedForward, norm: ResidualNorm, kernel: FusedKernel
) -> FeedForwardBlock:
    """norm(tokens + feed_forward(tokens))."""
    first, second = feed_forward.linear1, feed_forward.linear2
    return FeedForwardBlock(first, second, "relu", kernel, after=norm)


class AttentionBlock(nn.Module):
    """norm(tokens + attention); see `FusedKernel.attention_block`.

    Args:
        attention: of tokens to each other, or to a context.
        keys_are_located: whether positions are part of the keys too: tokens attend to each other.
        norm: of the sum.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        keys_are_located: bool,
        norm: ResidualNorm,
        kernel: FusedKernel,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.heads = attention.heads
        width = attention.out_proj.in_features
        parts = [2 * width, width] if keys_are_located else [width, 2 * width]
        self.located, self.source = (
            KernelLinear(weight, bias, kernel)
            for weight, bias in zip(
                attention.in_proj_weight.split(parts),
                attention.in_proj_bias.split(parts),
                strict=True,
            )
        )
        self.output = KernelLinear(attention.out_proj.weight, attention.out_proj.bias, kernel)
        self.norm = norm
        self.weights = AttentionWeights(
            located=self.located.weights,
            source=self.source.weights,
            output=self.output.weights,
            after=norm_weights(norm.weight, norm.bias, norm.eps),
            heads=attention.heads,
        )

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        context: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """(N, Q, d) to the same shape; `visible` is (N, 1 or Q, K) bool."""
        return self.kernel.attention_block(tokens, self.weights, positions, context, visible)

    def with_weights(
        self,
        tokens: Tensor,
        positions: Tensor,
        context: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same, and the attention weights (N, heads, Q, K)."""
        count, queries, _ = tokens.shape
        keys = queries if context is None else context.shape[1]
        attention = tokens.new_empty(count, self.heads, queries, keys)
        attended = self.kernel.attention_block(
            tokens, self.weights, positions, context, visible, attention
        )
        return attended, attention


def self_attention_block(
    attention: MultiHeadAttention, norm: ResidualNorm, kernel: FusedKernel
) -> AttentionBlock:
    """Tokens attend to each other."""
    return AttentionBlock(attention, True, norm, kernel)


def cross_attention_block(
    attention: MultiHeadAttention, norm: ResidualNorm, kernel: FusedKernel
) -> AttentionBlock:
    """Tokens attend to a context."""
    return AttentionBlock(attention, False, norm, kernel)


class DeformableAttentionBlock(nn.Module):
    """norm(tokens + deformable attention); see `FusedKernel.deformable_block`."""

    def __init__(
        self, attention: DeformableAttention, norm: ResidualNorm, kernel: FusedKernel
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.attention = KernelDeformableAttention(attention, kernel)
        query = cast(nn.Linear, self.attention.query_proj)
        located, value, output = (
            KernelLinear(linear.weight, linear.bias, kernel)
            for linear in (query, attention.value_proj, attention.output_proj)
        )
        self.attention.query_proj = located
        self.attention.value_proj = value
        self.attention.output_proj = output
        self.norm = KernelResidualNorm(norm, kernel)
        self.weights = DeformableAttentionWeights(
            located=located.weights,
            value=value.weights,
            output=output.weights,
            after=norm_weights(norm.weight, norm.bias, norm.eps),
            heads=attention.heads,
            points=attention.points,
        )

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        references: Tensor,
        memory: Tensor,
        spatial_shapes: SpatialShapes,
    ) -> Tensor:
        """(N, Q, d) to the same shape; the memory is (N, S, d)."""
        if self.attention.samples_first(tokens.shape[1], memory.shape[1]):
            attended = self.attention(tokens + positions, references, memory, spatial_shapes)
            return self.norm(tokens, attended)
        return self.kernel.deformable_block(
            tokens, positions, references, memory, spatial_shapes, self.weights
        )


class KernelTextLayer(nn.Module):
    """`TextLayer` in two calls."""

    def __init__(self, layer: TextLayer, kernel: FusedKernel) -> None:
        super().__init__()
        self.attention = self_attention_block(layer.self_attn, layer.norm1, kernel)
        self.feed_forward = feed_forward_block(layer.feed_forward, layer.norm2, kernel)

    def forward(self, text: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        """As `TextLayer.forward`."""
        return self.feed_forward(self.attention(text, positions, visible=visible))


class KernelImageLayer(nn.Module):
    """`ImageLayer` in two calls."""

    def __init__(self, layer: ImageLayer, kernel: FusedKernel) -> None:
        super().__init__()
        self.attention = DeformableAttentionBlock(layer.self_attn, layer.norm1, kernel)
        self.feed_forward = feed_forward_block(layer.feed_forward, layer.norm2, kernel)

    def forward(self, tokens: Tensor, geometry: ImageGeometry) -> Tensor:
        """As `ImageLayer.forward`, without padding."""
        tokens = self.attention(
            tokens, geometry.positions, geometry.centres, tokens, geometry.spatial_shapes
        )
        return self.feed_forward(tokens)


class KernelDecoderLayer(nn.Module):
    """`DecoderLayer` in four calls."""

    def __init__(self, layer: DecoderLayer, kernel: FusedKernel) -> None:
        super().__init__()
        self.self_attention = self_attention_block(layer.self_attn, layer.norm2, kernel)
        self.text_attention = cross_attention_block(layer.ca_text, layer.catext_norm, kernel)
        self.image_attention = DeformableAttentionBlock(layer.cross_attn, layer.norm1, kernel)
        self.feed_forward = feed_forward_block(layer.feed_forward, layer.norm3, kernel)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        references: Tensor,
        text: Tensor,
        text_padding: Tensor,
        memory: Tensor,
        memory_padding: Tensor | None,
        spatial_shapes: SpatialShapes,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `DecoderLayer.forward`, without padding of the image."""
        queries, query_weights = self.self_attention.with_weights(queries, positions)
        queries, text_weights = self.text_attention.with_weights(
            queries, positions, text, visible=~text_padding[:, None]
        )
        queries = self.image_attention(queries, positions, references, memory, spatial_shapes)
        return self.feed_forward(queries), query_weights, text_weights


class KernelTemporalLayer(nn.Module):
    """`TemporalLayer` in four calls."""

    def __init__(self, layer: TemporalLayer, kernel: FusedKernel) -> None:
        super().__init__()
        decoder = layer.decoder
        self.history = self_attention_block(layer.self_attn, layer.norm, kernel)
        self.sentence = self_attention_block(decoder.self_attn, decoder.norm1, kernel)
        self.reading = cross_attention_block(decoder.multihead_attn, decoder.norm2, kernel)
        self.feed_forward = feed_forward_block(decoder.feed_forward, decoder.norm3, kernel)

    def forward(self, history: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """As `TemporalLayer.forward`."""
        history = self.history(history)
        sentence = self.sentence(sentence)
        if len(sentence) != len(history):
            sentence = sentence.repeat_interleave(len(history) // len(sentence), dim=0)
        return history, self.feed_forward(self.reading(sentence, context=history))


class KernelPruningScore(nn.Module):
    """`ReleasedPruningScore` in float32."""

    def __init__(self, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, fit: Tensor, query_weights: Tensor) -> Tensor:
        """As `ReleasedPruningScore.forward`."""
        return self.kernel.pruning_scores(fit, query_weights)


class KernelBoxRefinement(nn.Module):
    """`BoxRefinement`, which is in float32 whatever the precision."""

    def __init__(self, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, moves: Tensor, references: Tensor) -> Tensor:
        """As `BoxRefinement.forward`."""
        return self.kernel.refine_boxes(moves, references, LOGIT_EPSILON)
