# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Pixel decoder: fused feature maps and the finest backbone map to mask features at stride 4."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.network.layers import group_count


class PixelDecoder(nn.Module):
    """Feature pyramid from coarse to fine, with half the channels at every finer level.

    Args:
        width: channels of the fused feature maps.
        finest_channels: channels of the backbone map at stride 4.
        outputs: channels of the mask features; by default `width`.
    """

    def __init__(self, width: int, finest_channels: int, outputs: int | None = None) -> None:
        super().__init__()
        channels = [width, width // 2, width // 4, width // 8, width // 16]
        inputs = [width, *channels[:-1]]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1)
            for before, after in zip(inputs, channels, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(group_count(count), count) for count in channels)
        self.adapters = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=1)
            for before, after in zip((width, width, finest_channels), channels[1:4], strict=True)
        )
        self.output = nn.Conv2d(channels[-1], outputs or width, kernel_size=3, padding=1)

    def forward(self, memory: tuple[Tensor, Tensor, Tensor], finest: Tensor) -> Tensor:
        """Mask features.

        Args:
            memory: fused maps (N, d, h, w) at strides 8, 16 and 32.
            finest: (N, C, h, w) backbone map at stride 4.

        Returns:
            (N, outputs, h, w) at stride 4.
        """
        return self.output(self.decode(memory, finest))

    def decode(self, memory: tuple[Tensor, Tensor, Tensor], finest: Tensor) -> Tensor:
        """Input (N, d / 16, h, w) of `output`, which is cheap to store."""
        stride8, stride16, stride32 = memory
        features = self.step(1, self.step(0, stride32))
        for index, lateral in enumerate((stride16, stride8, finest)):
            lateral = self.adapters[index](lateral)
            features = F.interpolate(features, size=lateral.shape[-2:], mode="nearest") + lateral
            features = self.step(index + 2, features)
        return features

    def step(self, index: int, features: Tensor) -> Tensor:
        """Apply convolution, GroupNorm and ReLU of one level."""
        return F.relu(self.norms[index](self.convolutions[index](features)))
