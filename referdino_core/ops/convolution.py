# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""1x1 and 3x3 convolutions of float32 maps on CPUs, channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.ops.library import KernelLibrary, matmul_kernels_for
from referdino_core.ops.linear import KernelLinear, pack_linear


def convolution(
    library: KernelLibrary, grid: Tensor, packed: Tensor, bias: Tensor, outputs: int, stride: int
) -> Tensor:
    """3x3 convolution of a zero-padded grid, without gradients.

    Args:
        grid: (N, h, w, C) float32.
        packed: the weight (outputs, 3, 3, C), flattened to (outputs, 9 C) and prepacked.
        bias: (outputs,).
        stride: 1 or 2, for both axes.

    Returns:
        (N, ceil(h / stride), ceil(w / stride), outputs).
    """
    grid = grid.contiguous()
    count, height, width, inputs = grid.shape
    output = grid.new_empty(count, -(-height // stride), -(-width // stride), outputs)
    library.functions.referdino_convolution(
        grid.data_ptr(),
        packed.data_ptr(),
        bias.data_ptr(),
        output.data_ptr(),
        *(count, height, width, inputs, outputs, stride),
        torch.get_num_threads(),
    )
    return output


class KernelPointwiseConvolution(nn.Module):
    """1x1 convolution, computed as a linear layer of every pixel."""

    def __init__(self, convolution: nn.Conv2d, library: KernelLibrary) -> None:
        super().__init__()
        self.linear = KernelLinear(convolution.weight.flatten(1), convolution.bias, library)

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, out, h, w), channels last."""
        return self.linear(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class KernelConvolution(nn.Module):
    """3x3 convolution with zero padding of one pixel."""

    def __init__(self, convolution: nn.Conv2d, library: KernelLibrary) -> None:
        super().__init__()
        self.library = library
        self.outputs, self.stride = convolution.out_channels, convolution.stride[0]
        weight = convolution.weight.detach().permute(0, 2, 3, 1)
        self.weight = pack_linear(library, weight.flatten(1))
        assert convolution.bias is not None
        self.bias = convolution.bias.detach()

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to (N, out, h / stride, w / stride), channels last."""
        grid = features.permute(0, 2, 3, 1)
        convolved = convolution(
            self.library, grid, self.weight, self.bias, self.outputs, self.stride
        )
        return convolved.permute(0, 3, 1, 2)


def fast_convolution(convolution: nn.Conv2d) -> nn.Module:
    """The fastest equivalent of a convolution on the CPU; itself if no kernel supports it."""
    library = matmul_kernels_for(convolution.weight)
    if library is None or not _is_plain(convolution):
        return convolution
    kind = convolution.kernel_size, convolution.padding
    if kind == ((1, 1), (0, 0)) and convolution.stride == (1, 1):
        return KernelPointwiseConvolution(convolution, library)
    if kind == ((3, 3), (1, 1)) and convolution.bias is not None:
        return KernelConvolution(convolution, library)
    return convolution


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Whether a convolution has no groups, no dilation, zero padding and one stride."""
    rows, columns = convolution.stride
    return (
        convolution.groups == 1
        and convolution.dilation == (1, 1)
        and convolution.padding_mode == "zeros"
        and rows == columns
    )
