# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernel of 3x3 convolutions against PyTorch in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from kernel_exactness import assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.ops.convolution import convolution
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import pack_linear

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")

SIZES = ((1, 1), (1, 5), (5, 1), (2, 2), (7, 9), (8, 6), (13, 20))


def weights_of(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    weight = random_numbers(outputs, inputs, 3, 3, seed=inputs) * (9 * inputs) ** -0.5
    return weight, random_numbers(outputs, seed=outputs)


def pack(kernel: KernelLibrary, weight: Tensor) -> Tensor:
    return pack_linear(kernel, weight.permute(0, 2, 3, 1).flatten(1))


def convolve(grid: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """By PyTorch, channels last."""
    images = grid.permute(0, 3, 1, 2)
    return F.conv2d(images, weight, bias, stride=stride, padding=1).permute(0, 2, 3, 1)


def assert_convolves(
    kernel: KernelLibrary, grid: Tensor, weight: Tensor, bias: Tensor, stride: int
) -> None:
    found = convolution(kernel, grid, pack(kernel, weight), bias, len(weight), stride)
    exact = convolve(grid.double(), weight.double(), bias.double(), stride)
    assert_as_exact(found, convolve(grid, weight, bias, stride), exact)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("inputs", [1, 3, 8])
def test_convolutions_of_any_size(
    kernel: KernelLibrary, inputs: int, height: int, width: int, stride: int
) -> None:
    weight, bias = weights_of(inputs, 21)
    assert_convolves(kernel, random_numbers(2, height, width, inputs), weight, bias, stride)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 1), (8, 3), (8, 8), (29, 33), (128, 64)])
def test_convolutions_of_any_number_of_channels(
    kernel: KernelLibrary, inputs: int, outputs: int, stride: int
) -> None:
    weight, bias = weights_of(inputs, outputs)
    assert_convolves(kernel, random_numbers(3, 11, 14, inputs), weight, bias, stride)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_image_is_convolved_the_same_alone_and_for_any_number_of_threads(
    kernel: KernelLibrary, stride: int
) -> None:
    weight, bias = weights_of(24, 40)
    packed, grid = pack(kernel, weight), random_numbers(3, 17, 22, 24)
    together = convolution(kernel, grid, packed, bias, 40, stride)
    for image in range(3):
        one = slice(image, image + 1)
        assert torch.equal(convolution(kernel, grid[one], packed, bias, 40, stride), together[one])
    torch.set_num_threads(1)
    assert torch.equal(convolution(kernel, grid, packed, bias, 40, stride), together)


def test_a_grid_whose_channels_lie_first_is_convolved_as_it_is_meant(kernel: KernelLibrary) -> None:
    weight, bias = weights_of(8, 16)
    packed, grid = pack(kernel, weight), random_numbers(2, 8, 7, 9).permute(0, 2, 3, 1)
    expected = convolution(kernel, grid.contiguous(), packed, bias, 16, 1)
    assert torch.equal(convolution(kernel, grid, packed, bias, 16, 1), expected)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_bad_place_reaches_its_neighbours_and_no_further(
    kernel: KernelLibrary, bad: float
) -> None:
    weight, bias = weights_of(4, 20)
    packed, grid = pack(kernel, weight), random_numbers(2, 6, 7, 4)
    before = convolution(kernel, grid, packed, bias, 20, 1)
    grid[1, 2, 6, 3] = bad
    found = convolution(kernel, grid, packed, bias, 20, 1)
    reached = torch.zeros(2, 6, 7, dtype=torch.bool)
    reached[1, 1:4, 5:] = True
    assert not found[reached].isfinite().any()
    assert torch.equal(found[~reached], before[~reached])
