# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable attention with its projections (Deformable DETR, section 4.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from referdino_core.ops.deformable_attention import (
    SpatialShapes,
    deformable_attention,
    full_precision,
    level_sizes,
)


class DeformableAttention(nn.Module):
    """Attention of each query to a few learned sampling locations around its reference.

    Args:
        width: channels of queries and values; a multiple of ``heads``.
        heads: M.
        levels: L.
        points: P, per head and level.
    """

    def __init__(self, width: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.levels = levels
        self.points = points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as in Deformable DETR: one direction per head, point p at p + 1 pixels."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        ring = torch.stack([angles.cos(), angles.sin()], -1)
        ring = ring / ring.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)
        offsets = ring[:, None, None] * steps[:, None]
        with torch.no_grad():
            self.sampling_offsets.weight.zero_()
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.levels, -1, -1).flatten())
            self.attention_weights.weight.zero_()
            self.attention_weights.bias.zero_()
            for projection in (self.value_proj, self.output_proj):
                nn.init.xavier_uniform_(projection.weight)
                projection.bias.zero_()

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attend from ``query`` to ``value``.

        Args:
            query: (N, Q, width), position included.
            references: (N, Q, L, 2) points x, y, or (N, Q, L, 4) boxes cx, cy, w, h, in 0..1 of the
                padded level.
            value: (N, S, width).
            spatial_shapes: height and width per level.
            padding: (N, S) bool, True on tokens to ignore, or None.

        Returns:
            (N, Q, width).

        Raises:
            ValueError: the shapes do not match.
        """
        projected = self.value_proj(value)
        if padding is not None:
            projected = projected.masked_fill(padding.unsqueeze(-1), 0.0)
        sampled = deformable_attention(
            projected.unflatten(-1, (self.heads, -1)),
            spatial_shapes,
            self.sampling_locations(query, references, level_sizes(references, spatial_shapes)),
            self.attention_weights(query).unflatten(-1, (self.heads, -1)),
        )
        return self.output_proj(sampled)

    def sampling_locations(self, query: Tensor, references: Tensor, sizes: Tensor) -> Tensor:
        """Sampling locations of each query, (N, Q, M, L, P, 2) float32; 0..1 spans a level.

        Args:
            query, references: as in `forward`.
            sizes: (L, 2) float, width and height of every level.
        """
        offsets = full_precision(self.sampling_offsets(query))
        offsets = offsets.unflatten(-1, (self.heads, self.levels, self.points, 2))
        references = full_precision(references)[:, :, None, :, None]
        if references.shape[-1] == 2:
            return references + offsets / sizes[:, None]
        if references.shape[-1] == 4:
            return references[..., :2] + offsets / self.points * references[..., 2:] * 0.5
        raise ValueError(
            "references are points (x, y) or boxes (cx, cy, w, h), "
            f"not {references.shape[-1]} values"
        )
