# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Deformable attention as it is recorded: one node of a custom operator.

The TensorRT plugin computes the node. For runtimes without the plugin `lowering` replaces it by
ONNX's own operators. Shapes are written as in `network.deformable_attention`, K = levels x
points.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from referdino_core.kernels import fused_kernel
from referdino_core.network.deformable_attention import (
    DeformableAttention,
    SpatialShapes,
    fused_deformable_attention,
    portable_deformable_attention,
)

DOMAIN = "referdino"
OPERATOR = "ReferdinoDeformableAttention"
PLUGIN_VERSION = "1"


class ExportedDeformableAttention(nn.Module):
    """`DeformableAttention` with the custom operator."""

    def __init__(self, attention: DeformableAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """As `DeformableAttention.forward`, without padding; references (1, ...) serve all."""
        attention = self.attention
        # What follows from a tensor's shape is recorded as a tensor itself, unless it is an int.
        spatial_shapes = tuple((int(height), int(width)) for height, width in spatial_shapes)
        sizes = torch.tensor([(width, height) for height, width in spatial_shapes])
        projected = attention.value_proj(value).unflatten(-1, (attention.heads, -1))
        logits = attention.attention_weights(query).unflatten(-1, (attention.heads, -1))
        locations = attention.sampling_locations(query, references, sizes.float()).flatten(3, 4)
        sampled = _DeformableAttentionNode.apply(projected, locations, logits, spatial_shapes)
        return attention.output_proj(cast(Tensor, sampled))


class _DeformableAttentionNode(torch.autograd.Function):
    """The custom operator, softmax included, which is recorded as one node."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, locations: Tensor, logits: Tensor, spatial_shapes: SpatialShapes
    ) -> Tensor:
        """Value (N, S, M, D), locations (N, Q, M, K, 2) and logits (N, Q, M, K) to (N, Q, M D)."""
        split = (len(spatial_shapes), logits.shape[-1] // len(spatial_shapes))
        weights = logits.float().softmax(-1).unflatten(-1, split)
        compute = fused_deformable_attention if fused_kernel() else portable_deformable_attention
        return compute(value, spatial_shapes, locations.unflatten(3, split), weights)

    @staticmethod
    def symbolic(
        graph: Any, value: Any, locations: Any, logits: Any, spatial_shapes: SpatialShapes
    ) -> Any:
        """The node, for PyTorch's exporter."""
        output = graph.op(
            f"{DOMAIN}::{OPERATOR}",
            value,
            locations,
            logits,
            spatial_shapes_i=[side for shape in spatial_shapes for side in shape],
            plugin_version_s=PLUGIN_VERSION,
            plugin_namespace_s=DOMAIN,
        )
        return output.setType(value.type().with_sizes([None, None, None]))
