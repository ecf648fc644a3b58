# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable attention (Deformable DETR, section 4.1): formula, kernels, ONNX node.

`deformable_attention` is the operator, including the softmax. It uses the CUDA kernel, the CPU
kernel or PyTorch's operators, which agree within 1e-5. ONNX exports represent it by one custom
node.

Shapes are written with N images, S tokens over all levels, Q queries, M heads of D channels, L
levels and P sampling points; K = L P.
"""

from __future__ import annotations

import ctypes
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from referdino_core.ops.cuda import SpatialShapes, cuda_deformable_attention, cuda_kernel
from referdino_core.ops.library import (
    KernelLibrary,
    is_recorded,
    kernel_library,
    kernel_status,
    kernels_for,
)
from referdino_core.ops.linear import LinearWeights, NormWeights

ONNX_DOMAIN = "referdino"
ONNX_OPERATOR = "ReferdinoDeformableAttention"
PLUGIN_VERSION = "1"

_LOW_PRECISION = (torch.bfloat16, torch.float16)


# ---- The operator ----


def deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, logits: Tensor
) -> Tensor:
    """Multi-scale deformable attention: weighted sums of values sampled from several levels.

    Sampling is bilinear, zero outside, with pixel centres at half-integers. bfloat16 and float16
    are computed in float32, since half precision cannot resolve locations in large feature maps.

    Args:
        value: (N, S, M, D), the tokens of all levels, each level in row-major order.
        spatial_shapes: height and width per level; S is the sum of their products.
        locations: (N, Q, M, L, P, 2) float32, x and y; 0..1 spans the level, any value is allowed.
        logits: (N, Q, M, K), attention weights before softmax.

    Returns:
        (N, Q, M * D) in the precision of ``value``.

    Raises:
        ValueError: the shapes do not match.
    """
    if torch.onnx.is_in_onnx_export():
        flat = locations.flatten(3, 4)
        return cast(Tensor, _Node.apply(value, flat, logits, static_shapes(spatial_shapes)))
    if _fits_cuda_kernel(value):
        flat = locations.flatten(3, 4).float()
        if logits.dtype != value.dtype:
            logits = logits.float()
        tensors = (tensor.contiguous() for tensor in (flat, logits))
        return cuda_deformable_attention(value.contiguous(), spatial_shapes, *tensors)
    weights = full_precision(logits).softmax(-1).unflatten(-1, locations.shape[3:5])
    return multi_scale_deformable_attention(value, spatial_shapes, locations, weights)


def multi_scale_deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """As `deformable_attention`, for weights (N, Q, M, L, P) after softmax; differentiable."""
    types = (torch.float32, *_LOW_PRECISION)
    if kernels_for(value, locations, weights, types=types) is not None:
        return fused_deformable_attention(value, spatial_shapes, locations, weights)
    return portable_deformable_attention(value, spatial_shapes, locations, weights)


def portable_deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """`multi_scale_deformable_attention` with ``grid_sample``, for any device."""
    _check_shapes(value, spatial_shapes, locations, weights)
    precision = value.dtype
    value, locations, weights = (full_precision(x) for x in (value, locations, weights))
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    weights = weights.transpose(1, 2).flatten(0, 1).unsqueeze(1)
    output = value.new_zeros(batch * heads, channels, queries)
    levels = value.split([height * width for height, width in spatial_shapes], dim=1)
    for level, (height, width) in enumerate(spatial_shapes):
        feature_map = levels[level].permute(0, 2, 3, 1).reshape(-1, channels, height, width)
        sampled = F.grid_sample(
            feature_map,
            grid[:, :, level],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        output = output + (sampled * weights[:, :, :, level]).sum(-1)
    output = output.view(batch, heads * channels, queries).transpose(1, 2)
    return output.to(precision).contiguous()


def _fits_cuda_kernel(value: Tensor) -> bool:
    """Whether the CUDA kernel, which has no float64, can process a tensor."""
    if not value.is_cuda or value.dtype not in (torch.float32, *_LOW_PRECISION):
        return False
    return not is_recorded() and cuda_kernel() is not None


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, otherwise unchanged."""
    return tensor.float() if tensor.dtype in _LOW_PRECISION else tensor


def static_shapes(spatial_shapes: SpatialShapes) -> SpatialShapes:
    """Shapes as integers; while a graph is recorded, they may be tensors."""
    return tuple((int(height), int(width)) for height, width in spatial_shapes)


def level_sizes(like: Tensor, spatial_shapes: SpatialShapes) -> Tensor:
    """(L, 2) width and height of every level, in the precision and on the device of `like`."""
    if torch.onnx.is_in_onnx_export():
        return torch.tensor([(w, h) for h, w in static_shapes(spatial_shapes)], dtype=torch.float32)
    # Filled on the device: a CUDA graph cannot record the copy of a constant from the host.
    sides = [
        like.new_full((1,), side) for height, width in spatial_shapes for side in (width, height)
    ]
    return torch.cat(sides).view(-1, 2)


def _check_shapes(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> None:
    if value.dim() != 4 or locations.dim() != 6 or weights.dim() != 5:
        raise ValueError(
            "deformable attention takes value (N, S, M, D), locations (N, Q, M, L, P, 2) and "
            f"weights (N, Q, M, L, P), not {_shapes(value, locations, weights)}"
        )
    if any(height < 1 or width < 1 for height, width in spatial_shapes):
        raise ValueError(f"deformable attention: levels {tuple(spatial_shapes)} have no tokens")
    tokens = sum(height * width for height, width in spatial_shapes)
    if value.shape[1] != tokens:
        raise ValueError(
            f"deformable attention: value has {value.shape[1]} tokens, "
            f"the levels {tuple(spatial_shapes)} have {tokens}"
        )
    images, _, heads, _ = value.shape
    expected = (images, locations.shape[1], heads, len(spatial_shapes), locations.shape[4])
    if tuple(weights.shape) != expected or tuple(locations.shape) != (*expected, 2):
        raise ValueError(
            f"deformable attention: value, locations and weights of {len(spatial_shapes)} levels "
            f"do not match: {_shapes(value, locations, weights)}"
        )


def _shapes(*tensors: Tensor) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)


# ---- The CPU kernels ----


def fused_deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """`multi_scale_deformable_attention` in the fused CPU kernel, in float32.

    Raises:
        ValueError: the shapes do not match.
        RuntimeError: the kernel is not available.
    """
    _check_shapes(value, spatial_shapes, locations, weights)
    output: Tensor = _FusedDeformableAttention.apply(
        value.float(), spatial_shapes, locations.float(), weights.float()
    )
    return output.to(value.dtype)


def projected_deformable_attention(
    library: KernelLibrary,
    value: Tensor,
    spatial_shapes: SpatialShapes,
    references: Tensor,
    projections: Tensor,
    points: int,
) -> Tensor:
    """Deformable attention of projected queries and values, without gradients.

    Args:
        value: (N, S, M, D) float32 or bfloat16.
        spatial_shapes: height and width per level.
        references: (N, Q, L, 2) points or (N, Q, L, 4) boxes in 0..1; (1, ...) for all images.
        projections: (N, Q, M * L * P * 3) of the value's type: offsets x, y by head, level and
            point, then logits by head, level and point.
        points: P.

    Returns:
        (N, Q, M * D) of the value's type.
    """
    value, references, projections = (
        tensor.contiguous() for tensor in (value, references.float(), projections)
    )
    batch, _, heads, channels = value.shape
    queries = projections.shape[1]
    output = value.new_empty(batch, queries, heads * channels)
    too_many = library.functions.referdino_deformable_inference(
        value.data_ptr(),
        _sides(spatial_shapes),
        references.data_ptr(),
        projections.data_ptr(),
        output.data_ptr(),
        *(batch, len(references), queries, heads, channels, len(spatial_shapes), points),
        references.shape[-1],
        value.dtype == torch.bfloat16,
        torch.get_num_threads(),
    )
    _check_samples(too_many, len(spatial_shapes), points)
    return output


class DeformableAttentionWeights(ctypes.Structure):
    """``DeformableAttentionWeights`` of blocks.h."""

    _fields_ = (
        ("positioned", LinearWeights),
        ("value", LinearWeights),
        ("output", LinearWeights),
        ("after", NormWeights),
        ("heads", ctypes.c_int64),
        ("points", ctypes.c_int64),
    )


def deformable_block(
    library: KernelLibrary,
    tokens: Tensor,
    positions: Tensor,
    references: Tensor,
    memory: Tensor,
    spatial_shapes: SpatialShapes,
    weights: DeformableAttentionWeights,
) -> Tensor:
    """Deformable attention with projections, residual, and the norm after it.

    Args:
        tokens: (N, Q, d) float32.
        positions: (N, Q, d), or (1, Q, d) for all images.
        references: see `projected_deformable_attention`.
        memory: (N, S, d), the tokens of all levels.
        spatial_shapes: height and width per level.
        weights: prepacked.

    Returns:
        (N, Q, d).
    """
    tokens, positions, references, memory = (
        t.contiguous() for t in (tokens, positions, references, memory)
    )
    output = torch.empty_like(tokens)
    too_many = library.functions.referdino_deformable_block(
        ctypes.byref(weights),
        tokens.data_ptr(),
        positions.data_ptr(),
        len(positions),
        memory.data_ptr(),
        _sides(spatial_shapes),
        len(spatial_shapes),
        references.data_ptr(),
        *(len(references), references.shape[-1]),
        output.data_ptr(),
        *(len(tokens), tokens.shape[1]),
        torch.get_num_threads(),
    )
    _check_samples(too_many, len(spatial_shapes), weights.points)
    return output


def _check_samples(too_many: int, levels: int, points: int) -> None:
    if too_many:
        raise ValueError(f"{levels} levels with {points} points each are too many samples")


class _FusedDeformableAttention(torch.autograd.Function):
    """Autograd function of the fused kernel, for float32 tensors on the CPU."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, weights: Tensor
    ) -> Tensor:
        library = kernel_library()
        if library is None:
            raise RuntimeError(f"the fused CPU kernel is not available: {kernel_status()}")
        value, locations, weights = (x.contiguous() for x in (value, locations, weights))
        ctx.save_for_backward(value, locations, weights)
        ctx.library = library
        ctx.spatial_shapes = spatial_shapes
        output = value.new_empty(*locations.shape[:2], value.shape[2] * value.shape[3])
        library.functions.referdino_deformable_attention_forward(
            value.data_ptr(),
            _sides(spatial_shapes),
            locations.data_ptr(),
            weights.data_ptr(),
            output.data_ptr(),
            *_dimensions(value, weights),
            torch.get_num_threads(),
        )
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        value, locations, weights = ctx.saved_tensors
        output_gradient = output_gradient.contiguous()
        value_gradient = torch.zeros_like(value)
        location_gradient, weight_gradient = torch.empty_like(locations), torch.empty_like(weights)
        ctx.library.functions.referdino_deformable_attention_backward(
            value.data_ptr(),
            _sides(ctx.spatial_shapes),
            locations.data_ptr(),
            weights.data_ptr(),
            output_gradient.data_ptr(),
            value_gradient.data_ptr(),
            location_gradient.data_ptr(),
            weight_gradient.data_ptr(),
            *_dimensions(value, weights),
            torch.get_num_threads(),
        )
        return value_gradient, None, location_gradient, weight_gradient


def _dimensions(value: Tensor, weights: Tensor) -> tuple[int, ...]:
    """N, Q, M, D, L and P, the dimensions that both kernels take."""
    batch, queries, heads, levels, points = weights.shape
    return batch, queries, heads, value.shape[-1], levels, points


def _sides(spatial_shapes: SpatialShapes) -> ctypes.Array[ctypes.c_int64]:
    sides = [side for shape in spatial_shapes for side in shape]
    return (ctypes.c_int64 * len(sides))(*sides)


# ---- The ONNX node ----


class _Node(torch.autograd.Function):
    """The operator as one ONNX node, which the TensorRT plugin implements.

    For runtimes without the plugin `export.lowering` replaces it by standard ONNX operators.
    """

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, locations: Tensor, logits: Tensor, spatial_shapes: SpatialShapes
    ) -> Tensor:
        """Value (N, S, M, D), locations (N, Q, M, K, 2) and logits (N, Q, M, K) to (N, Q, M D)."""
        split = (len(spatial_shapes), logits.shape[-1] // len(spatial_shapes))
        weights = logits.float().softmax(-1).unflatten(-1, split)
        compute = fused_deformable_attention if kernel_library() else portable_deformable_attention
        return compute(value, spatial_shapes, locations.unflatten(3, split), weights)

    @staticmethod
    def symbolic(
        graph: Any, value: Any, locations: Any, logits: Any, spatial_shapes: SpatialShapes
    ) -> Any:
        """The node, for PyTorch's exporter."""
        output = graph.op(
            f"{ONNX_DOMAIN}::{ONNX_OPERATOR}",
            value,
            locations,
            logits,
            spatial_shapes_i=[side for shape in spatial_shapes for side in shape],
            plugin_version_s=PLUGIN_VERSION,
            plugin_namespace_s=ONNX_DOMAIN,
        )
        return output.setType(value.type().with_sizes([None, None, None]))
