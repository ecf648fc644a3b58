# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Deformable attention with a joint projection, sampling before projecting if that is cheaper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.ops.deformable_attention import (
    SpatialShapes,
    projected_deformable_attention,
)
from referdino_core.ops.library import KernelLibrary
from referdino_core.optimize.folded_fusion import constant

CORNERS = 4


class KernelDeformableAttention(nn.Module):
    """`DeformableAttention` with the CPU kernel between its projections.

    If few queries attend to many tokens, values are sampled before they are projected: both steps
    are linear, so that only the samples need to be projected.
    """

    def __init__(self, attention: DeformableAttention, library: KernelLibrary) -> None:
        super().__init__()
        self.library = library
        self.heads, self.points = attention.heads, attention.points
        self.samples = attention.levels * attention.points
        self.value_proj: nn.Module = attention.value_proj
        self.value_weight = constant(attention.value_proj.weight)
        self.value_bias = constant(attention.value_proj.bias)
        self.output_proj: nn.Module = attention.output_proj
        offsets, weights = attention.sampling_offsets, attention.attention_weights
        self.query_proj: nn.Module = side_by_side(offsets, weights)

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """As `DeformableAttention.forward`, without padding; references may be (1, ...)."""
        projections = self.query_proj(query)
        if self.samples_first(query.shape[1], value.shape[1]):
            sampled = self.sample_first(projections, references, value, spatial_shapes)
        else:
            projected = self.value_proj(value).unflatten(-1, (self.heads, -1))
            sampled = projected_deformable_attention(
                self.library, projected, spatial_shapes, references, projections, self.points
            )
        return self.output_proj(sampled)

    def samples_first(self, queries: int, tokens: int) -> bool:
        """Whether the queries read fewer values than there are tokens."""
        return queries * self.heads * self.samples * CORNERS < tokens

    def sample_first(
        self, projections: Tensor, references: Tensor, value: Tensor, spatial_shapes: SpatialShapes
    ) -> Tensor:
        """Sampled values (N, Q, width), which are projected head by head after sampling."""
        batch, queries, _ = projections.shape
        offsets, logits = projections.split(
            [2 * self.heads * self.samples, self.heads * self.samples], dim=-1
        )
        # Every head becomes a separate query over all channels.
        rows = [part.unflatten(-1, (self.heads, -1)) for part in (offsets, logits)]
        rows_of_heads = torch.cat(rows, dim=-1).flatten(1, 2)
        references = references.repeat_interleave(self.heads, dim=1)
        arguments = (spatial_shapes, references, rows_of_heads, self.points)
        sampled = projected_deformable_attention(self.library, value.unsqueeze(2), *arguments)
        ones = value.new_ones(len(value), value.shape[1], 1, 1)
        inside = projected_deformable_attention(self.library, ones, *arguments)
        # (heads, N * Q, width) times (heads, width, channels); samples outside have no bias.
        sampled = sampled.view(batch * queries, self.heads, -1).transpose(0, 1)
        weight = self.value_weight.unflatten(0, (self.heads, -1)).transpose(1, 2)
        bias = self.value_bias.unflatten(0, (self.heads, 1, -1))
        projected = sampled @ weight + inside.view(-1, self.heads, 1).transpose(0, 1) * bias
        return projected.transpose(0, 1).reshape(batch, queries, -1)


def side_by_side(first: nn.Linear, second: nn.Linear) -> nn.Linear:
    """One linear layer with the outputs of the first, followed by those of the second."""
    joint = nn.Linear(first.in_features, first.out_features + second.out_features)
    joint.weight = constant(torch.cat([first.weight, second.weight]))
    joint.bias = constant(torch.cat([first.bias, second.bias]))
    return joint
