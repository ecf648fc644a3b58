# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 2, image encoder: pixels to multi-scale features, once per frame for all commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.image_geometry import ImageGeometry, Shape, image_geometry
from referdino_core.network.swin_transformer import SwinTransformer


@dataclass(frozen=True)
class ImageFeatures:
    """Multi-scale features of N images, levels flattened and concatenated to S tokens.

    Attributes:
        tokens: (N, S, d) projected backbone features, finest level first.
        finest: (N, C, h, w) backbone map at stride 4.
        geometry: positions of the tokens.
    """

    tokens: Tensor
    finest: Tensor
    geometry: ImageGeometry

    def repeat_interleave(self, count: int) -> ImageFeatures:
        """The features with every image repeated `count` times in a row, once per command."""
        if count == 1:
            return self
        return ImageFeatures(
            self.tokens.repeat_interleave(count, dim=0),
            self.finest.repeat_interleave(count, dim=0),
            self.geometry.repeat_interleave(count),
        )


class ImageEncoder(nn.Module):
    """The image stage: Swin Transformer and projections to the model's width."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        width = configuration.width
        channels = configuration.swin.channels
        self.backbone = SwinTransformer(configuration.swin)
        projected = [nn.Conv2d(count, width, kernel_size=1) for count in channels[1:]]
        projected += [
            nn.Conv2d(channels[-1], width, kernel_size=3, stride=2, padding=1)
            for _ in range(configuration.levels - len(projected))
        ]
        self.input_projections = nn.ModuleList(
            nn.Sequential(convolution, nn.GroupNorm(32, width)) for convolution in projected
        )
        self.level_embedding = nn.Parameter(torch.randn(configuration.levels, width))

    def forward(self, pixels: Tensor, padding: Tensor | None = None) -> ImageFeatures:
        """Encode images.

        Args:
            pixels: (N, 3, H, W) float, normalised with ImageNet's mean and deviation.
            padding: (N, H, W) bool, True on padding; None for images without padding.
        """
        tokens, finest, spatial_shapes = self.encode(pixels)
        size = (pixels.shape[2], pixels.shape[3])
        finest_shape = (finest.shape[2], finest.shape[3])
        return ImageFeatures(
            tokens, finest, self.geometry(size, spatial_shapes, finest_shape, padding)
        )

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor, tuple[Shape, ...]]:
        """Tokens (N, S, d), the finest map (N, C, h, w), and the shape of every level."""
        finest, *coarser = self.backbone(pixels)
        maps = [
            projection(coarser[min(level, len(coarser) - 1)])
            for level, projection in enumerate(self.input_projections)
        ]
        tokens = torch.cat([features.flatten(2).transpose(1, 2) for features in maps], dim=1)
        return tokens, finest, tuple((m.shape[2], m.shape[3]) for m in maps)

    def geometry(
        self,
        size: Shape,
        spatial_shapes: Sequence[Shape],
        finest_shape: Shape,
        padding: Tensor | None = None,
    ) -> ImageGeometry:
        """Geometry of images of `size`; see `image_geometry`."""
        return image_geometry(size, spatial_shapes, finest_shape, self.level_embedding, padding)
