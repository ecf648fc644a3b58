# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Encoder and decoder of Deformable DETR (Zhu et al., ICLR 2021), applied to single frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from referdino_core.network.attention import MultiHeadAttention
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.image_geometry import Shape, token_centres, valid_ratio
from referdino_core.network.layers import FeedForward, MultilayerPerceptron, ResidualNorm
from referdino_core.network.position_encoding import inverse_sigmoid
from referdino_core.peers.soc.configuration import SOCConfiguration

EPSILON = 1e-5
"""Margin from 0 and 1 to which references are clamped before the logit."""


@dataclass(frozen=True)
class Levels:
    """Feature maps of N frames at several strides, finest first, with S tokens in total.

    Attributes:
        maps: per level (N, d, h, w).
        positions: per level (N, d, h, w) sine embedding.
        padding: per level (N, h, w) bool, True on padding.
    """

    maps: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]
    padding: tuple[Tensor, ...]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Height and width of every level."""
        return tuple((one.shape[2], one.shape[3]) for one in self.maps)

    def rows(self, part: slice) -> Levels:
        """The same for some of the frames."""
        return Levels(
            tuple(one[part] for one in self.maps),
            tuple(one[part] for one in self.positions),
            tuple(one[part] for one in self.padding),
        )


@dataclass(frozen=True)
class DecodedFrames:
    """Object queries of N frames after every decoder layer.

    Attributes:
        queries: (layers, N, Q, d).
        references: points (N, Q, 2) that enter the first layer, then boxes (N, Q, 4) that leave
            each layer, in [0, 1] of the non-padded frame.
        memory: (N, S, d) encoded tokens of all levels.
    """

    queries: Tensor
    references: tuple[Tensor, ...]
    memory: Tensor


class EncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward network."""

    def __init__(self, configuration: SOCConfiguration) -> None:
        super().__init__()
        c = configuration
        self.self_attn = DeformableAttention(c.width, c.heads, c.levels, c.points)
        self.norm1 = ResidualNorm(c.width)
        self.feed_forward = FeedForward(c.width, c.feed_forward)
        self.norm2 = ResidualNorm(c.width)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        centres: Tensor,
        shapes: tuple[Shape, ...],
        padding: Tensor,
    ) -> Tensor:
        """(N, S, d) tokens to the same shape."""
        attended = self.self_attn(tokens + positions, centres, tokens, shapes, padding)
        tokens = self.norm1(tokens, attended)
        return self.norm2(tokens, self.feed_forward(tokens))


class FrameDecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention to the frame, feed-forward network."""

    def __init__(self, configuration: SOCConfiguration) -> None:
        super().__init__()
        c = configuration
        self.self_attn = MultiHeadAttention(c.width, c.heads)
        self.norm2 = ResidualNorm(c.width)
        self.cross_attn = DeformableAttention(c.width, c.heads, c.levels, c.points)
        self.norm1 = ResidualNorm(c.width)
        self.feed_forward = FeedForward(c.width, c.feed_forward)
        self.norm3 = ResidualNorm(c.width)

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: tuple[Shape, ...],
        padding: Tensor,
    ) -> Tensor:
        """(N, Q, d) queries to the same shape; references are (N, Q, levels, 2 or 4)."""
        located = queries + positions
        queries = self.norm2(queries, self.self_attn(located, located, queries))
        attended = self.cross_attn(queries + positions, references, memory, shapes, padding)
        queries = self.norm1(queries, attended)
        return self.norm3(queries, self.feed_forward(queries))


class DeformableTransformer(nn.Module):
    """Encoder of a frame's tokens and decoder of its object queries, with box refinement."""

    def __init__(self, configuration: SOCConfiguration) -> None:
        super().__init__()
        c = configuration
        self.level_embed = nn.Parameter(torch.randn(c.levels, c.width))
        self.encoder = nn.ModuleList(EncoderLayer(c) for _ in range(c.encoder_layers))
        self.decoder = nn.ModuleList(FrameDecoderLayer(c) for _ in range(c.decoder_layers))
        self.query_embed = nn.Embedding(c.queries, c.width)
        self.reference_points = nn.Linear(c.width, 2)
        self.box_heads = nn.ModuleList(
            MultilayerPerceptron((c.width, c.width, c.width, 4)) for _ in range(c.decoder_layers)
        )

    def forward(self, levels: Levels) -> DecodedFrames:
        """Encode and decode N frames."""
        padding = torch.cat([one.flatten(1) for one in levels.padding], dim=1)
        ratios = torch.stack([valid_ratio(one) for one in levels.padding], dim=1)
        memory = self.encode(levels, padding, ratios)
        positions = self.query_embed.weight.expand(len(memory), -1, -1)
        queries = torch.zeros_like(positions)
        references = [self.reference_points(positions).sigmoid()]
        decoded = []
        for index, layer in enumerate(self.decoder):
            entering = references[-1]
            scale = ratios if entering.shape[-1] == 2 else ratios.repeat(1, 1, 2)
            scaled = entering[:, :, None] * scale[:, None]
            queries = layer(queries, positions, scaled, memory, levels.shapes, padding)
            decoded.append(queries)
            references.append(self.refine(index, queries, entering).detach())
        return DecodedFrames(torch.stack(decoded), tuple(references), memory)

    def encode(self, levels: Levels, padding: Tensor, ratios: Tensor) -> Tensor:
        """Memory (N, S, d); `ratios` (N, levels, 2) are the non-padded fractions of every level."""
        tokens = torch.cat([one.flatten(2).transpose(1, 2) for one in levels.maps], dim=1)
        positions = torch.cat(
            [
                one.flatten(2).transpose(1, 2) + embedding
                for one, embedding in zip(levels.positions, self.level_embed, strict=True)
            ],
            dim=1,
        )
        centres = token_centres(levels.shapes, ratios)
        for layer in self.encoder:
            tokens = layer(tokens, positions, centres, levels.shapes, padding)
        return tokens

    def refine(self, layer: int, queries: Tensor, references: Tensor) -> Tensor:
        """Boxes (..., 4) in [0, 1] that a layer's box head predicts relative to references.

        References may be points (..., 2); width and height are then those of the head alone.
        """
        moved = inverse_sigmoid(references, EPSILON)
        deltas: Tensor = self.box_heads[layer](queries)
        fixed = nn.functional.pad(moved, (0, 4 - moved.shape[-1]))
        return (deltas + fixed).sigmoid()
