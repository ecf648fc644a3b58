# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Group normalisation of float32 maps on CPUs, channels last.

PyTorch's own operator is less accurate in this memory format, and its sums depend on the number of
threads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.ops.library import KernelLibrary, matmul_kernels_for


def group_norm(
    library: KernelLibrary,
    grid: Tensor,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    epsilon: float,
) -> Tensor:
    """Group normalisation of an (N, ..., C) grid, without gradients."""
    grid = grid.contiguous()
    output = torch.empty_like(grid)
    channels = grid.shape[-1]
    library.functions.referdino_group_norm(
        grid.data_ptr(),
        weight.data_ptr(),
        bias.data_ptr(),
        output.data_ptr(),
        *(len(grid), grid.numel() // (len(grid) * channels), channels, groups, epsilon),
        torch.get_num_threads(),
    )
    return output


class KernelGroupNorm(nn.Module):
    """Group normalisation in one call of the CPU kernel."""

    def __init__(self, norm: nn.GroupNorm, library: KernelLibrary) -> None:
        super().__init__()
        self.library = library
        self.weight, self.bias = norm.weight, norm.bias
        self.groups, self.epsilon = norm.num_groups, norm.eps

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, h, w) to the same shape, channels last."""
        grid = features.permute(0, 2, 3, 1)
        normalised = group_norm(
            self.library, grid, self.weight, self.bias, self.groups, self.epsilon
        )
        return normalised.permute(0, 3, 1, 2)


def fast_group_norm(norm: nn.GroupNorm) -> nn.Module:
    """The fastest equivalent of a group normalisation on the CPU, after a `fast_convolution`."""
    library = matmul_kernels_for(norm.weight)
    return norm if library is None else KernelGroupNorm(norm, library)
