# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable attention (Deformable DETR, section 4.1; the network's specification).

``multi_scale_deformable_attention`` is the operator. It has a portable version for every device and
precision, and a fused one for float32 on the CPU, which agree within 1e-5. ``DeformableAttention``
is the attention block around it.

Shapes are written with N images, S cells over all levels, Q queries, M heads of D channels, L
levels and P sampling points.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from referdino_core.kernels import fused_kernel, kernel_status

__all__ = [
    "DeformableAttention",
    "SpatialShapes",
    "fused_deformable_attention",
    "multi_scale_deformable_attention",
    "portable_deformable_attention",
]

SpatialShapes = tuple[tuple[int, int], ...]
"""Height and width in cells of each level, the finest first."""

_LOW_PRECISION = (torch.bfloat16, torch.float16)


def multi_scale_deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum, per query and head, of values sampled at fractional places of several levels.

    Sampling is bilinear, zero outside, with cell centres at half-integers. bfloat16 and float16 are
    computed in float32 inside: half precision cannot place a sample within a large feature map.

    Args:
        value: (N, S, M, D), the cells of all levels, each level row by row.
        spatial_shapes: height and width per level; S is the sum of their products.
        locations: (N, Q, M, L, P, 2), x and y; 0..1 spans the level, anything is allowed.
        weights: (N, Q, M, L, P), attention weights after softmax.

    Returns:
        (N, Q, M * D) in the precision of ``value``.

    Raises:
        ValueError: shapes that do not belong together.
    """
    if _fits_fused_kernel(value, locations, weights):
        return fused_deformable_attention(value, spatial_shapes, locations, weights)
    return portable_deformable_attention(value, spatial_shapes, locations, weights)


def portable_deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """``multi_scale_deformable_attention`` through ``grid_sample``, for every device."""
    _check_shapes(value, spatial_shapes, locations, weights)
    precision = value.dtype
    value, locations, weights = (_full_precision(x) for x in (value, locations, weights))
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    shares = weights.transpose(1, 2).flatten(0, 1).unsqueeze(1)
    output = value.new_zeros(batch * heads, channels, queries)
    cells = value.split([height * width for height, width in spatial_shapes], dim=1)
    for level, (height, width) in enumerate(spatial_shapes):
        feature_map = cells[level].permute(0, 2, 3, 1).reshape(-1, channels, height, width)
        sampled = F.grid_sample(
            feature_map,
            grid[:, :, level],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        output = output + (sampled * shares[:, :, :, level]).sum(-1)
    output = output.view(batch, heads * channels, queries).transpose(1, 2)
    return output.to(precision).contiguous()


def fused_deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """``multi_scale_deformable_attention`` through the fused CPU kernel, in float32.

    Raises:
        ValueError: shapes that do not belong together.
        RuntimeError: the kernel is not available here.
    """
    _check_shapes(value, spatial_shapes, locations, weights)
    output: Tensor = _FusedDeformableAttention.apply(
        value.float(), spatial_shapes, locations.float(), weights.float()
    )
    return output.to(value.dtype)


class _FusedDeformableAttention(torch.autograd.Function):
    """The fused kernel and its gradients, for float32 tensors on the CPU."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
    ) -> Tensor:
        kernel = fused_kernel()
        if kernel is None:
            raise RuntimeError(f"the fused CPU kernel is not available: {kernel_status()}")
        value, locations, weights = (x.contiguous() for x in (value, locations, weights))
        ctx.save_for_backward(value, locations, weights)
        ctx.kernel = kernel
        ctx.spatial_shapes = spatial_shapes
        return kernel.deformable_attention(value, spatial_shapes, locations, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        value, locations, weights = ctx.saved_tensors
        to_value, to_locations, to_weights = ctx.kernel.deformable_attention_gradients(
            value, ctx.spatial_shapes, locations, weights, output_gradient.contiguous()
        )
        return to_value, None, to_locations, to_weights


def _fits_fused_kernel(*tensors: Tensor) -> bool:
    # A graph that is being recorded for another runtime must not contain a call out of PyTorch.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, *_LOW_PRECISION):
            return False
    return fused_kernel() is not None


def _full_precision(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in _LOW_PRECISION else tensor


def _check_shapes(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> None:
    if value.dim() != 4 or locations.dim() != 6 or weights.dim() != 5:
        raise ValueError(
            "deformable attention takes value (N, S, M, D), locations (N, Q, M, L, P, 2) and "
            f"weights (N, Q, M, L, P), not {_shapes(value, locations, weights)}"
        )
    if any(height < 1 or width < 1 for height, width in spatial_shapes):
        raise ValueError(f"deformable attention: levels {tuple(spatial_shapes)} have an empty one")
    cells = sum(height * width for height, width in spatial_shapes)
    if value.shape[1] != cells:
        raise ValueError(
            f"deformable attention: value has {value.shape[1]} cells, "
            f"the levels {tuple(spatial_shapes)} have {cells}"
        )
    images, _, heads, _ = value.shape
    expected = (images, locations.shape[1], heads, len(spatial_shapes), locations.shape[4])
    if tuple(weights.shape) != expected or tuple(locations.shape) != (*expected, 2):
        raise ValueError(
            f"deformable attention: value, locations and weights of {len(spatial_shapes)} levels "
            f"do not belong together: {_shapes(value, locations, weights)}"
        )


def _shapes(*tensors: Tensor) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)


def level_sizes(like: Tensor, spatial_shapes: SpatialShapes) -> Tensor:
    """(L, 2) width and height of every level, in the precision and on the device of `like`."""
    # Filled where they are needed: a CUDA graph cannot record a constant's way from the host.
    sides = [
        like.new_full((1,), side) for height, width in spatial_shapes for side in (width, height)
    ]
    return torch.cat(sides).view(-1, 2)


class DeformableAttention(nn.Module):
    """Attention of each query to a few learned sampling points around its reference.

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
        """Deformable DETR's start: each head looks one way, point p to p + 1 cells from there."""
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
            padding: (N, S) bool, True on cells to ignore, or None.

        Returns:
            (N, Q, width).

        Raises:
            ValueError: shapes that do not belong together.
        """
        projected = self.value_proj(value)
        if padding is not None:
            projected = projected.masked_fill(padding.unsqueeze(-1), 0.0)
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1)
        sampled = multi_scale_deformable_attention(
            projected.unflatten(-1, (self.heads, -1)),
            spatial_shapes,
            self.sampling_locations(query, references, level_sizes(query, spatial_shapes)),
            weights.unflatten(-1, (self.levels, self.points)),
        )
        return self.output_proj(sampled)

    def sampling_locations(self, query: Tensor, references: Tensor, sizes: Tensor) -> Tensor:
        """(N, Q, M, L, P, 2) float32 places that each query looks at; 0..1 spans a level.

        Args:
            query, references: as `forward` takes them.
            sizes: (L, 2) float, width and height of every level in cells.
        """
        offsets = _full_precision(self.sampling_offsets(query))
        offsets = offsets.unflatten(-1, (self.heads, self.levels, self.points, 2))
        references = _full_precision(references)[:, :, None, :, None]
        if references.shape[-1] == 2:
            return references + offsets / sizes[:, None]
        if references.shape[-1] == 4:
            return references[..., :2] + offsets / self.points * references[..., 2:] * 0.5
        raise ValueError(
            "references are points (x, y) or boxes (cx, cy, w, h), "
            f"not {references.shape[-1]} numbers"
        )
