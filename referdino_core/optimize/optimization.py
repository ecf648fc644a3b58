# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Replacement of the network's blocks by faster equivalents, in a given precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import nn

from referdino_core.network.attention import DecoderLayer
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.fusion_encoder import (
    BidirectionalAttention,
    FusionLayer,
    ImageLayer,
    TextLayer,
)
from referdino_core.network.image_geometry import Shape
from referdino_core.network.layers import FeedForward, MultilayerPerceptron
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward
from referdino_core.network.swin_transformer import SwinStage, SwinTransformer
from referdino_core.network.temporal_decoder import TemporalLayer
from referdino_core.ops.convolution import fast_convolution
from referdino_core.ops.group_norm import fast_group_norm
from referdino_core.ops.library import KernelLibrary, kernel_library
from referdino_core.ops.linear import fast_linear
from referdino_core.optimize.deformable_attention import KernelDeformableAttention
from referdino_core.optimize.folded_fusion import FoldedBidirectionalAttention, KernelFusionLayer
from referdino_core.optimize.stages import GroundingStage, ImageStage, ReadoutStage
from referdino_core.optimize.swin_stage import CachedSwinStage, KernelSwinStage
from referdino_core.optimize.transformer_layers import (
    KernelDecoderLayer,
    KernelImageLayer,
    KernelTemporalLayer,
    KernelTextLayer,
    blockwise,
    blockwise_swin,
    fast_perceptron,
)

Block = TypeVar("Block", bound=nn.Module)
Replacements = Mapping[type[nn.Module], Callable[[Any], nn.Module]]

FULL_PRECISION = (
    "box_head",
    "level_embedding",
    "reference_point_head",
    "relative_position_bias_table",
    "similarity",
    "time_embedding",
)
"""Parts that stay in float32: coordinates, scores, and the layers that compute them."""


@dataclass(frozen=True)
class OptimizedStages:
    """The tensor stages of one model for one image size and precision."""

    image: ImageStage
    grounding: GroundingStage
    readout: ReadoutStage


def copy_stages(model: ReferDINO, size: Shape, precision: torch.dtype) -> OptimizedStages:
    """The stages as copies of the model's blocks, in a precision; they share float32 weights."""
    encoder = share_weights(model.image_encoder, precision)
    grounder = share_weights(model.grounder, precision)
    readout = share_weights(model.readout, precision)
    readout.query_positions = grounder.decoder.query_positions
    readout.boxes = grounder.decoder.refine
    return OptimizedStages(
        ImageStage(encoder, precision),
        GroundingStage(grounder, model.image_encoder, size, precision),
        ReadoutStage(readout, precision, model.device),
    )


def optimize(model: ReferDINO, size: Shape, precision: torch.dtype) -> OptimizedStages:
    """The optimized stages on the model's device, for images of (height, width) pixels."""
    device = model.device
    # Tensors created in inference mode cannot be used outside of it.
    with torch.inference_mode(False), torch.no_grad():
        stages = copy_stages(model, size, precision)
        optimize_backbone(stages.image.encoder.backbone, size, device)
        for stage in (stages.image, stages.grounding, stages.readout):
            optimize_blocks(stage, precision, device)
    return stages


def share_weights(block: Block, precision: torch.dtype) -> Block:
    """A copy of a block that may be modified, in a precision; it shares float32 weights."""
    kept: dict[int, Any] = {id(weight): weight for weight in block.parameters()}
    shared = copy.deepcopy(block, kept).eval()
    if precision is not torch.float32:
        lower_precision(shared, precision)
    return shared


def lower_precision(block: nn.Module, precision: torch.dtype) -> None:
    """Convert a block's weights to a precision, except for the parts in `FULL_PRECISION`."""
    for name, child in block.named_children():
        if name not in FULL_PRECISION:
            lower_precision(child, precision)
    for name, weight in block.named_parameters(recurse=False):
        if name not in FULL_PRECISION:
            lowered = nn.Parameter(weight.detach().to(precision), requires_grad=False)
            setattr(block, name, lowered)


def replace_modules(block: nn.Module, replacements: Replacements) -> None:
    """Replace every descendant whose type is in `replacements`."""
    for name, child in block.named_children():
        make = replacements.get(type(child))
        if make is None:
            replace_modules(child, replacements)
        else:
            setattr(block, name, make(child))


def replace_swin_stages(
    backbone: SwinTransformer, size: Shape, make: Callable[[SwinStage, int, int], nn.Module]
) -> None:
    """Replace every stage of a backbone by one for images of `size` in pixels."""
    height, width = (-(-side // 4) for side in size)
    for index, stage in enumerate(backbone.layers):
        backbone.layers[index] = make(cast(SwinStage, stage), height, width)
        height, width = -(-height // 2), -(-width // 2)


def optimize_backbone(backbone: SwinTransformer, size: Shape, device: torch.device) -> None:
    """Optimize a backbone for images of `size`, with the CPU kernels if available."""
    library = kernel_library() if device.type == "cpu" else None
    if library is None:
        replace_swin_stages(backbone, size, CachedSwinStage)
    else:
        replace_swin_stages(
            backbone, size, lambda stage, h, w: KernelSwinStage(stage, h, w, library)
        )


def optimize_blocks(block: nn.Module, precision: torch.dtype, device: torch.device) -> None:
    """Replace all blocks that have a faster equivalent on this device and in this precision."""
    library = kernel_library() if device.type == "cpu" else None
    if library is not None and library.has_fast_matmul and precision is torch.float32:
        replace_layers(block, library)
    if library is not None:
        replace_modules(
            block, {DeformableAttention: lambda found: KernelDeformableAttention(found, library)}
        )
    replace_modules(block, {BidirectionalAttention: FoldedBidirectionalAttention})
    if device.type == "cpu":
        replace_modules(
            block,
            {
                FeedForward: blockwise,
                SwinFeedForward: blockwise_swin,
                MultilayerPerceptron: fast_perceptron,
                nn.Conv2d: fast_convolution,
                nn.GroupNorm: fast_group_norm,
                nn.Linear: fast_linear,
            },
        )


def replace_layers(block: nn.Module, library: KernelLibrary) -> None:
    """Replace float32 transformer layers by a few calls of the CPU kernels each."""
    replace_modules(
        block,
        {
            DecoderLayer: lambda found: KernelDecoderLayer(found, library),
            FusionLayer: lambda found: KernelFusionLayer(found, library),
            ImageLayer: lambda found: KernelImageLayer(found, library),
            TemporalLayer: lambda found: KernelTemporalLayer(found, library),
            TextLayer: lambda found: KernelTextLayer(found, library),
        },
    )
