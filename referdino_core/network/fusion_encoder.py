# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Fusion encoder of Grounding DINO: bi-directional attention between image and text."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.attention import MultiHeadAttention
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.image_encoder import ImageFeatures
from referdino_core.network.image_geometry import ImageGeometry
from referdino_core.network.layers import FeedForward, ResidualNorm
from referdino_core.network.position_encoding import SineEmbedding
from referdino_core.network.text_encoder import TextFeatures


class BidirectionalAttention(nn.Module):
    """Cross-attention between image and text in both directions, from one matrix of logits."""

    def __init__(self, width: int, inner_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.v_proj = nn.Linear(width, inner_width)
        self.l_proj = nn.Linear(width, inner_width)
        self.values_v_proj = nn.Linear(width, inner_width)
        self.values_l_proj = nn.Linear(width, inner_width)
        self.out_v_proj = nn.Linear(inner_width, width)
        self.out_l_proj = nn.Linear(inner_width, width)

    def split(self, tokens: Tensor) -> Tensor:
        """(N, tokens, inner) to (N, heads, tokens, inner / heads)."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, image: Tensor, text: Tensor, image_padding: Tensor | None, text_padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Updates for (N, S, d) image and (N, L, d) text tokens."""
        image_query, text_query = self.split(self.v_proj(image)), self.split(self.l_proj(text))
        logits = (image_query * image_query.shape[-1] ** -0.5) @ text_query.transpose(-1, -2)
        to_text = logits.masked_fill(text_padding[:, None, None, :], -torch.inf).softmax(-1)
        if image_padding is not None:
            logits = logits.masked_fill(image_padding[:, None, :, None], -torch.inf)
        to_image = logits.softmax(-2)
        image_update = to_text @ self.split(self.values_l_proj(text))
        text_update = to_image.transpose(-1, -2) @ self.split(self.values_v_proj(image))
        return (
            self.out_v_proj(image_update.transpose(1, 2).flatten(-2)),
            self.out_l_proj(text_update.transpose(1, 2).flatten(-2)),
        )


class FusionLayer(nn.Module):
    """Bi-directional attention, added to the normalised features with learned gains."""

    def __init__(self, width: int, inner_width: int, heads: int, gain: float) -> None:
        super().__init__()
        self.layer_norm_v = nn.LayerNorm(width)
        self.layer_norm_l = nn.LayerNorm(width)
        self.attn = BidirectionalAttention(width, inner_width, heads)
        self.gamma_v = nn.Parameter(torch.full((width,), gain))
        self.gamma_l = nn.Parameter(torch.full((width,), gain))

    def forward(
        self, image: Tensor, text: Tensor, image_padding: Tensor | None, text_padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fused (N, S, d) image and (N, L, d) text tokens."""
        image, text = self.layer_norm_v(image), self.layer_norm_l(text)
        image_update, text_update = self.attn(image, text, image_padding, text_padding)
        return image + self.gamma_v * image_update, text + self.gamma_l * text_update


class TextLayer(nn.Module):
    """Post-norm transformer layer with the sub-sentence attention mask."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads)
        self.norm1 = ResidualNorm(width)
        self.feed_forward = FeedForward(width, feed_forward)
        self.norm2 = ResidualNorm(width)

    def forward(self, text: Tensor, positions: Tensor, attn_mask: Tensor) -> Tensor:
        """(N, L, d) to the same shape; `attn_mask` is (N, L, L) bool, True where allowed."""
        positioned = text + positions
        text = self.norm1(text, self.self_attn(positioned, positioned, text, attn_mask[:, None]))
        return self.norm2(text, self.feed_forward(text))


class ImageLayer(nn.Module):
    """Post-norm layer of multi-scale deformable self-attention and a feed-forward network."""

    def __init__(self, width: int, heads: int, levels: int, points: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(width, heads, levels, points)
        self.norm1 = ResidualNorm(width)
        self.feed_forward = FeedForward(width, feed_forward)
        self.norm2 = ResidualNorm(width)

    def forward(self, tokens: Tensor, geometry: ImageGeometry) -> Tensor:
        """(N, S, d) to the same shape."""
        attended = self.self_attn(
            tokens + geometry.positions.to(tokens.dtype),
            geometry.centres,
            tokens,
            geometry.spatial_shapes,
            geometry.padding,
        )
        tokens = self.norm1(tokens, attended)
        return self.norm2(tokens, self.feed_forward(tokens))


class FusionEncoder(nn.Module):
    """Alternating fusion, text and image layers."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        c = configuration
        count = range(c.encoder_layers)
        self.text_positions = SineEmbedding(c.width, 10000.0)
        self.fusion_layers = nn.ModuleList(
            FusionLayer(c.width, c.fusion_width, c.fusion_heads, c.initial_fusion_gain)
            for _ in count
        )
        self.text_layers = nn.ModuleList(
            TextLayer(c.width, c.text_heads, c.text_feed_forward) for _ in count
        )
        self.layers = nn.ModuleList(
            ImageLayer(c.width, c.heads, c.levels, c.points, c.feed_forward) for _ in count
        )

    def forward(self, image: ImageFeatures, text: TextFeatures) -> tuple[Tensor, Tensor]:
        """Fused image tokens (N, S, d) and text tokens (N, L, d); one image serves N texts."""
        image_tokens, text_tokens = image.tokens, text.tokens
        geometry = image.geometry
        text_positions = self.text_positions(text.positions * (2 * math.pi)).to(text_tokens.dtype)
        for fusion_layer, text_layer, image_layer in zip(
            self.fusion_layers, self.text_layers, self.layers, strict=True
        ):
            image_tokens, text_tokens = fusion_layer(
                image_tokens, text_tokens, geometry.padding, text.padding
            )
            text_tokens = text_layer(text_tokens, text_positions, text.attention)
            image_tokens = image_layer(image_tokens, geometry)
        return image_tokens, text_tokens
