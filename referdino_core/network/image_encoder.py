# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 2, image encoder: pixels to multi-scale features, once per frame for all commands."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.position_encoding import image_position_embedding
from referdino_core.network.swin_transformer import SwinTransformer


@dataclass(frozen=True)
class ImageFeatures:
    """Multi-scale features of N images, levels flattened and concatenated to S tokens.

    Attributes:
        tokens: (N, S, d) projected backbone features, finest level first.
        positions: (N, S, d) position plus level embedding.
        padding: (N, S) bool, True on padding.
        valid_ratios: (N, levels, 2) non-padded share of width and height.
        finest: (N, C, h, w) backbone map at stride 4.
        finest_padding: (N, h, w) bool.
        spatial_shapes: (height, width) of every level, finest first.
    """

    tokens: Tensor
    positions: Tensor
    padding: Tensor
    valid_ratios: Tensor
    finest: Tensor
    finest_padding: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]

    def repeat_interleave(self, count: int) -> ImageFeatures:
        """Every image `count` times in a row, one for each command."""
        if count == 1:
            return self
        tensors = {
            entry.name: getattr(self, entry.name).repeat_interleave(count, dim=0)
            for entry in fields(self)
            if entry.name != "spatial_shapes"
        }
        return ImageFeatures(**tensors, spatial_shapes=self.spatial_shapes)


class ImageEncoder(nn.Module):
    """Swin Transformer, projections to the model's width, positions."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        width = configuration.width
        channels = configuration.swin.channels
        self.width = width
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
            padding: (N, H, W) bool, True on padding; None where there is none.
        """
        if padding is None:
            padding = torch.zeros(
                pixels.shape[0], *pixels.shape[2:], dtype=torch.bool, device=pixels.device
            )
        finest, *coarser = self.backbone(pixels)
        maps = [
            projection(coarser[min(level, len(coarser) - 1)])
            for level, projection in enumerate(self.input_projections)
        ]
        paddings = [resize_padding(padding, features.shape[-2:]) for features in maps]
        positions = [
            image_position_embedding(mask, self.width) + self.level_embedding[level]
            for level, mask in enumerate(paddings)
        ]
        return ImageFeatures(
            tokens=torch.cat([features.flatten(2).transpose(1, 2) for features in maps], dim=1),
            positions=torch.cat([position.flatten(1, 2) for position in positions], dim=1),
            padding=torch.cat([mask.flatten(1) for mask in paddings], dim=1),
            valid_ratios=torch.stack([valid_ratio(mask) for mask in paddings], dim=1),
            finest=finest,
            finest_padding=resize_padding(padding, finest.shape[-2:]),
            spatial_shapes=tuple((m.shape[-2], m.shape[-1]) for m in maps),
        )


def resize_padding(padding: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Nearest-neighbour resampling of an (N, H, W) bool padding mask to `size`."""
    return F.interpolate(padding[:, None].float(), size=tuple(size))[:, 0].bool()


def valid_ratio(padding: Tensor) -> Tensor:
    """(N, 2) share of the width and of the height that (N, h, w) `padding` leaves."""
    inside = (~padding).float()
    return torch.stack([inside[:, 0, :].mean(1), inside[:, :, 0].mean(1)], dim=-1)
