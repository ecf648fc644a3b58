# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exchanges blocks of the network for faster equivalents, in the precision that is asked for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import nn

from referdino_core.inference.convolution import (
    KernelGroupNorm,
    KernelPixelDecoder,
    fast_convolution,
)
from referdino_core.inference.deformable_attention import (
    CudaDeformableAttention,
    KernelDeformableAttention,
)
from referdino_core.inference.fusion_attention import (
    FoldedBidirectionalAttention,
    KernelFusionLayer,
)
from referdino_core.inference.linear import (
    KernelLayerNorm,
    KernelResidualNorm,
    blockwise,
    blockwise_swin,
    fast_linear,
    fast_perceptron,
)
from referdino_core.inference.position_encoding import KernelBoxEmbedding, KernelSineEmbedding
from referdino_core.inference.stages import GroundingStage, ImageStage, ReadoutStage
from referdino_core.inference.swin_stage import (
    CachedSwinStage,
    KernelPatchEmbedding,
    KernelSwinStage,
)
from referdino_core.inference.token_similarity import KernelTokenSimilarity
from referdino_core.inference.transformer_layers import (
    KernelBoxRefinement,
    KernelDecoderLayer,
    KernelImageLayer,
    KernelPruningScore,
    KernelTemporalLayer,
    KernelTextLayer,
)
from referdino_core.kernels import FusedKernel, fused_kernel
from referdino_core.kernels.cuda import cuda_kernel
from referdino_core.network.attention import DecoderLayer
from referdino_core.network.decoder import BoxRefinement, ReleasedPruningScore
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.fusion_encoder import (
    BidirectionalAttention,
    FusionLayer,
    ImageLayer,
    TextLayer,
)
from referdino_core.network.image_geometry import Shape
from referdino_core.network.layers import FeedForward, MultilayerPerceptron, ResidualNorm
from referdino_core.network.pixel_decoder import PixelDecoder
from referdino_core.network.position_encoding import BoxEmbedding, SineEmbedding
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward
from referdino_core.network.swin_transformer import PatchEmbedding, SwinStage, SwinTransformer
from referdino_core.network.temporal_decoder import TemporalLayer
from referdino_core.network.token_similarity import TokenSimilarity

Block = TypeVar("Block", bound=nn.Module)
Exchanges = Mapping[type[nn.Module], Callable[[Any], nn.Module]]

FULL_PRECISION = (
    "box_head",
    "level_embedding",
    "reference_point_head",
    "relative_position_bias_table",
    "similarity",
    "time_embedding",
)
"""Parts that stay in float32: coordinates, scores and what they follow from."""


@dataclass(frozen=True)
class PreparedStages:
    """The tensor stages of one model at one image size, in one precision."""

    image: ImageStage
    grounding: GroundingStage
    readout: ReadoutStage


def copy_stages(model: ReferDINO, size: Shape, precision: torch.dtype) -> PreparedStages:
    """The stages with blocks of their own over the model's weights, in a precision."""
    encoder = share_weights(model.image_encoder, precision)
    grounder = share_weights(model.grounder, precision)
    readout = share_weights(model.readout, precision)
    readout.query_positions = grounder.decoder.query_positions
    readout.boxes = grounder.decoder.refine
    return PreparedStages(
        ImageStage(encoder, precision),
        GroundingStage(grounder, model.image_encoder, size, precision),
        ReadoutStage(readout, precision, model.device),
    )


def prepare(model: ReferDINO, size: Shape, precision: torch.dtype) -> PreparedStages:
    """The stages at their fastest on the model's device, for images of (height, width) pixels."""
    device = model.device
    # What is made in inference mode could not be used outside of it.
    with torch.inference_mode(False), torch.no_grad():
        stages = copy_stages(model, size, precision)
        prepare_backbone(stages.image.encoder.backbone, size, device)
        for stage in (stages.image, stages.grounding, stages.readout):
            prepare_blocks(stage, precision, device)
    return stages


def share_weights(block: Block, precision: torch.dtype) -> Block:
    """A copy of a block that may be changed; over the same weights where they are float32."""
    kept: dict[int, Any] = {id(weight): weight for weight in block.parameters()}
    twin = copy.deepcopy(block, kept).eval()
    if precision is not torch.float32:
        lower_precision(twin, precision)
    return twin


def lower_precision(block: nn.Module, precision: torch.dtype) -> None:
    """Convert a block's weights, but for those of `FULL_PRECISION`."""
    for name, child in block.named_children():
        if name not in FULL_PRECISION:
            lower_precision(child, precision)
    for name, weight in block.named_parameters(recurse=False):
        if name not in FULL_PRECISION:
            lowered = nn.Parameter(weight.detach().to(precision), requires_grad=False)
            setattr(block, name, lowered)


def exchange(block: nn.Module, exchanges: Exchanges) -> None:
    """Replace every descendant of a type in `exchanges` by what its function makes of it."""
    for name, child in block.named_children():
        make = exchanges.get(type(child))
        if make is None:
            exchange(child, exchanges)
        else:
            setattr(block, name, make(child))


def exchange_swin_stages(
    backbone: SwinTransformer, size: Shape, make: Callable[[SwinStage, int, int], nn.Module]
) -> None:
    """Replace every stage of a backbone by one that is made for images of `size` in pixels."""
    height, width = (-(-side // 4) for side in size)
    for place, stage in enumerate(backbone.layers):
        backbone.layers[place] = make(cast(SwinStage, stage), height, width)
        height, width = -(-height // 2), -(-width // 2)


def prepare_backbone(backbone: SwinTransformer, size: Shape, device: torch.device) -> None:
    """Fix a backbone to images of `size`, with the CPU kernel where there is one."""
    kernel = fused_kernel() if device.type == "cpu" else None
    if kernel is None:
        exchange_swin_stages(backbone, size, CachedSwinStage)
    else:
        exchange_swin_stages(
            backbone, size, lambda stage, h, w: KernelSwinStage(stage, h, w, kernel)
        )


def prepare_blocks(block: nn.Module, precision: torch.dtype, device: torch.device) -> None:
    """Exchange whatever has a faster equivalent on this device, in this precision."""
    kernel = fused_kernel() if device.type == "cpu" else None
    if kernel is not None and kernel.has_fast_matmul and precision is torch.float32:
        exchange_layers_for_kernel(block, kernel)
    if kernel is not None:
        exchange_for_kernel(block, kernel)
    exchange(block, {BidirectionalAttention: FoldedBidirectionalAttention})
    if device.type == "cpu":
        exchange(
            block,
            {
                FeedForward: blockwise,
                SwinFeedForward: blockwise_swin,
                MultilayerPerceptron: fast_perceptron,
                nn.Linear: fast_linear,
            },
        )
    elif device.type == "cuda" and cuda_kernel() is not None:
        exchange(block, {DeformableAttention: CudaDeformableAttention})


def exchange_layers_for_kernel(block: nn.Module, kernel: FusedKernel) -> None:
    """Exchange what the CPU kernels have a function for in float32."""
    exchange(
        block,
        {
            DecoderLayer: lambda found: KernelDecoderLayer(found, kernel),
            FusionLayer: lambda found: KernelFusionLayer(found, kernel),
            ImageLayer: lambda found: KernelImageLayer(found, kernel),
            PatchEmbedding: lambda found: KernelPatchEmbedding(found, kernel),
            PixelDecoder: lambda found: KernelPixelDecoder(found, kernel),
            ReleasedPruningScore: lambda _: KernelPruningScore(kernel),
            TemporalLayer: lambda found: KernelTemporalLayer(found, kernel),
            TextLayer: lambda found: KernelTextLayer(found, kernel),
        },
    )
    exchange(
        block,
        {
            ResidualNorm: lambda found: KernelResidualNorm(found, kernel),
            nn.Conv2d: lambda found: fast_convolution(found, kernel),
            nn.GroupNorm: lambda found: KernelGroupNorm(found, kernel),
            nn.LayerNorm: lambda found: KernelLayerNorm(found, kernel),
        },
    )


def exchange_for_kernel(block: nn.Module, kernel: FusedKernel) -> None:
    """Exchange what the CPU kernels have a function for in every precision."""
    exchange(
        block,
        {
            BoxEmbedding: lambda found: KernelBoxEmbedding(found, kernel),
            BoxRefinement: lambda _: KernelBoxRefinement(kernel),
            DeformableAttention: lambda found: KernelDeformableAttention(found, kernel),
            SineEmbedding: lambda found: KernelSineEmbedding(found, kernel),
            TokenSimilarity: lambda found: KernelTokenSimilarity(found, kernel),
        },
    )
