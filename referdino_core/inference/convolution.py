# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Convolutions of float32 maps through referdino's fused kernels for CPUs, channels last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.inference.linear import KernelLinear
from referdino_core.kernels import FusedKernel
from referdino_core.network.pixel_decoder import PixelDecoder


class KernelPointwiseConvolution(nn.Module):
    """A 1x1 convolution: a linear layer of every place."""

    def __init__(self, convolution: nn.Conv2d, kernel: FusedKernel) -> None:
        super().__init__()
        self.linear = KernelLinear(convolution.weight.flatten(1), convolution.bias, kernel)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(N, C, h, w) to (N, out, h, w), channels last; `added` is added to that."""
        if added is not None:
            added = added.permute(0, 2, 3, 1)
        return self.linear(features.permute(0, 2, 3, 1), added).permute(0, 3, 1, 2)


class KernelConvolution(nn.Module):
    """A 3x3 convolution, padded by one place."""

    def __init__(self, convolution: nn.Conv2d, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.outputs, self.step = convolution.out_channels, convolution.stride[0]
        weight = convolution.weight.detach().permute(0, 2, 3, 1)
        self.weight = kernel.pack_linear(weight.flatten(1))
        assert convolution.bias is not None
        self.bias = convolution.bias.detach()

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, out, h / step, w / step), channels last."""
        grid = features.permute(0, 2, 3, 1)
        places = self.kernel.convolution(grid, self.weight, self.bias, self.outputs, self.step)
        return places.permute(0, 3, 1, 2)


class KernelGroupNorm(nn.Module):
    """A group normalisation, and a ReLU where `relu`."""

    def __init__(self, norm: nn.GroupNorm, kernel: FusedKernel, relu: bool = False) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight, self.bias = norm.weight, norm.bias
        self.groups, self.epsilon, self.relu = norm.num_groups, norm.eps, relu

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape, channels last."""
        grid = self.kernel.group_norm(
            features.permute(0, 2, 3, 1),
            self.weight,
            self.bias,
            self.groups,
            self.epsilon,
            self.relu,
        )
        return grid.permute(0, 3, 1, 2)


class KernelPixelDecoder(nn.Module):
    """`PixelDecoder` with its ReLUs and sums in the CPU kernels."""

    def __init__(self, decoder: PixelDecoder, kernel: FusedKernel) -> None:
        super().__init__()
        convolutions = cast(Iterable[nn.Conv2d], decoder.convolutions)
        norms = cast(Iterable[nn.GroupNorm], decoder.norms)
        adapters = cast(Iterable[nn.Conv2d], decoder.adapters)
        self.convolutions = nn.ModuleList(KernelConvolution(c, kernel) for c in convolutions)
        self.norms = nn.ModuleList(KernelGroupNorm(norm, kernel, relu=True) for norm in norms)
        self.adapters = nn.ModuleList(KernelPointwiseConvolution(a, kernel) for a in adapters)
        self.output = KernelConvolution(decoder.output, kernel)

    def forward(self, memory: tuple[Tensor, Tensor, Tensor], finest: Tensor) -> Tensor:
        """As `PixelDecoder.forward`; the result is channels last."""
        stride8, stride16, stride32 = memory
        features = self.step(1, self.step(0, stride32))
        for index, lateral in enumerate((stride16, stride8, finest)):
            features = F.interpolate(features, size=lateral.shape[-2:], mode="nearest")
            if len(lateral) == len(features):
                features = self.adapters[index](lateral, features)
            else:
                features = features + self.adapters[index](lateral)
            features = self.step(index + 2, features)
        return self.output(features)

    def step(self, index: int, features: Tensor) -> Tensor:
        """Convolution, GroupNorm, ReLU."""
        return self.norms[index](self.convolutions[index](features))


def fast_convolution(convolution: nn.Conv2d, kernel: FusedKernel) -> nn.Module:
    """A convolution at its fastest, where it is one of the network's kinds in float32."""
    if not is_plain(convolution):
        return convolution
    kind = convolution.kernel_size, convolution.padding
    if kind == ((1, 1), (0, 0)) and convolution.stride == (1, 1):
        return KernelPointwiseConvolution(convolution, kernel)
    if kind == ((3, 3), (1, 1)) and convolution.bias is not None:
        return KernelConvolution(convolution, kernel)
    return convolution


def is_plain(convolution: nn.Conv2d) -> bool:
    """Whether nothing sets a convolution apart but its size, and it steps equally both ways."""
    rows, columns = convolution.stride
    return (
        convolution.weight.dtype is torch.float32
        and convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and rows == columns
    )
