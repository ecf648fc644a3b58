# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Transformer layers in float32, with one call of the CPU kernels per block.

A block is attention or a feed-forward network, with its residual and norm. Layers of few tokens
consist of dozens of operators that take microseconds each; fewer calls leave more time to the
matrix multiplications.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from referdino_core.network.attention import DecoderLayer, MultiHeadAttention
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.fusion_encoder import ImageLayer, TextLayer
from referdino_core.network.image_geometry import ImageGeometry
from referdino_core.network.layers import FeedForward, MultilayerPerceptron, ResidualNorm
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward
from referdino_core.network.temporal_decoder import TemporalLayer
from referdino_core.ops.attention import AttentionWeights, attention_block
from referdino_core.ops.deformable_attention import (
    DeformableAttentionWeights,
    SpatialShapes,
    deformable_block,
)
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import (
    BlockwiseFeedForward,
    FeedForwardBlock,
    KernelLinear,
    fast_linear,
    norm_weights,
)
from referdino_core.optimize.deformable_attention import KernelDeformableAttention


def fast_perceptron(perceptron: MultilayerPerceptron) -> nn.Module:
    """The fastest equivalent of a perceptron on the CPU."""
    *hidden, last = (layer for layer in perceptron.layers if isinstance(layer, nn.Linear))
    return nn.Sequential(*(fast_linear(layer, "relu") for layer in hidden), fast_linear(last))


def blockwise(block: FeedForward) -> BlockwiseFeedForward:
    """A transformer's feed-forward network, computed in blocks of tokens."""
    return BlockwiseFeedForward(block.linear1, block.linear2, "relu")


def blockwise_swin(block: SwinFeedForward) -> BlockwiseFeedForward:
    """Swin's feed-forward network, computed in blocks of tokens."""
    return BlockwiseFeedForward(block.fc1, block.fc2, "gelu")


def feed_forward_block(
    feed_forward: FeedForward, norm: ResidualNorm, library: KernelLibrary
) -> FeedForwardBlock:
    """A block that computes norm(tokens + feed_forward(tokens))."""
    first, second = feed_forward.linear1, feed_forward.linear2
    return FeedForwardBlock(first, second, "relu", library, after=norm)


class AttentionBlock(nn.Module):
    """Block that computes norm(tokens + attention); see `ops.attention.attention_block`.

    Args:
        attention: self-attention, or cross-attention to a context.
        keys_have_positions: whether positions are added to the keys too, as in self-attention.
        norm: norm of the sum.
    """

    def __init__(
        self,
        attention: MultiHeadAttention,
        keys_have_positions: bool,
        norm: ResidualNorm,
        library: KernelLibrary,
    ) -> None:
        super().__init__()
        self.library = library
        self.heads = attention.heads
        width = attention.out_proj.in_features
        parts = [2 * width, width] if keys_have_positions else [width, 2 * width]
        self.positioned, self.source = (
            KernelLinear(weight, bias, library)
            for weight, bias in zip(
                attention.in_proj_weight.split(parts),
                attention.in_proj_bias.split(parts),
                strict=True,
            )
        )
        self.output = KernelLinear(attention.out_proj.weight, attention.out_proj.bias, library)
        self.norm = norm
        self.weights = AttentionWeights(
            positioned=self.positioned.weights,
            source=self.source.weights,
            output=self.output.weights,
            after=norm_weights(norm),
            heads=attention.heads,
        )

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        context: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """(N, Q, d) to the same shape; `attn_mask` is (N, 1 or Q, K) bool."""
        return attention_block(self.library, tokens, self.weights, positions, context, attn_mask)

    def with_weights(
        self,
        tokens: Tensor,
        positions: Tensor,
        context: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, with the attention weights (N, heads, Q, K)."""
        count, queries, _ = tokens.shape
        keys = queries if context is None else context.shape[1]
        attention = tokens.new_empty(count, self.heads, queries, keys)
        attended = attention_block(
            self.library, tokens, self.weights, positions, context, attn_mask, attention
        )
        return attended, attention


def self_attention_block(
    attention: MultiHeadAttention, norm: ResidualNorm, library: KernelLibrary
) -> AttentionBlock:
    """A block of self-attention."""
    return AttentionBlock(attention, True, norm, library)


def cross_attention_block(
    attention: MultiHeadAttention, norm: ResidualNorm, library: KernelLibrary
) -> AttentionBlock:
    """A block of cross-attention to a context."""
    return AttentionBlock(attention, False, norm, library)


class DeformableAttentionBlock(nn.Module):
    """Block of deformable attention; see `ops.deformable_attention.deformable_block`."""

    def __init__(
        self, attention: DeformableAttention, norm: ResidualNorm, library: KernelLibrary
    ) -> None:
        super().__init__()
        self.library = library
        self.norm = norm
        self.attention = KernelDeformableAttention(attention, library)
        query = cast(nn.Linear, self.attention.query_proj)
        positioned, value, output = (
            KernelLinear(linear.weight, linear.bias, library)
            for linear in (query, attention.value_proj, attention.output_proj)
        )
        self.attention.query_proj = positioned
        self.attention.value_proj = value
        self.attention.output_proj = output
        self.weights = DeformableAttentionWeights(
            positioned=positioned.weights,
            value=value.weights,
            output=output.weights,
            after=norm_weights(norm),
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
        return deformable_block(
            self.library, tokens, positions, references, memory, spatial_shapes, self.weights
        )


class KernelTextLayer(nn.Module):
    """`TextLayer` in two calls of the CPU kernels."""

    def __init__(self, layer: TextLayer, library: KernelLibrary) -> None:
        super().__init__()
        self.attention = self_attention_block(layer.self_attn, layer.norm1, library)
        self.feed_forward = feed_forward_block(layer.feed_forward, layer.norm2, library)

    def forward(self, text: Tensor, positions: Tensor, attn_mask: Tensor) -> Tensor:
        """As `TextLayer.forward`."""
        return self.feed_forward(self.attention(text, positions, attn_mask=attn_mask))


class KernelImageLayer(nn.Module):
    """`ImageLayer` in two calls of the CPU kernels."""

    def __init__(self, layer: ImageLayer, library: KernelLibrary) -> None:
        super().__init__()
        self.attention = DeformableAttentionBlock(layer.self_attn, layer.norm1, library)
        self.feed_forward = feed_forward_block(layer.feed_forward, layer.norm2, library)

    def forward(self, tokens: Tensor, geometry: ImageGeometry) -> Tensor:
        """As `ImageLayer.forward`, without padding."""
        tokens = self.attention(
            tokens, geometry.positions, geometry.centres, tokens, geometry.spatial_shapes
        )
        return self.feed_forward(tokens)


class KernelDecoderLayer(nn.Module):
    """`DecoderLayer` in four calls of the CPU kernels."""

    def __init__(self, layer: DecoderLayer, library: KernelLibrary) -> None:
        super().__init__()
        self.self_attention = self_attention_block(layer.self_attn, layer.norm2, library)
        self.text_attention = cross_attention_block(layer.ca_text, layer.catext_norm, library)
        self.image_attention = DeformableAttentionBlock(layer.cross_attn, layer.norm1, library)
        self.feed_forward = feed_forward_block(layer.feed_forward, layer.norm3, library)

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
            queries, positions, text, attn_mask=~text_padding[:, None]
        )
        queries = self.image_attention(queries, positions, references, memory, spatial_shapes)
        return self.feed_forward(queries), query_weights, text_weights


class KernelTemporalLayer(nn.Module):
    """`TemporalLayer` in four calls of the CPU kernels."""

    def __init__(self, layer: TemporalLayer, library: KernelLibrary) -> None:
        super().__init__()
        decoder = layer.decoder
        self.history = self_attention_block(layer.self_attn, layer.norm, library)
        self.sentence = self_attention_block(decoder.self_attn, decoder.norm1, library)
        self.reading = cross_attention_block(decoder.multihead_attn, decoder.norm2, library)
        self.feed_forward = feed_forward_block(decoder.feed_forward, decoder.norm3, library)

    def forward(self, history: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """As `TemporalLayer.forward`."""
        history = self.history(history)
        sentence = self.sentence(sentence)
        if len(sentence) != len(history):
            sentence = sentence.repeat_interleave(len(history) // len(sentence), dim=0)
        return history, self.feed_forward(self.reading(sentence, context=history))
