# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernel of group normalisation against PyTorch in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from kernel_exactness import assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.ops.group_norm import group_norm
from referdino_core.ops.library import KernelLibrary

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")


def normalise(
    grid: Tensor, weight: Tensor, bias: Tensor, groups: int, epsilon: float = 1e-5
) -> Tensor:
    """By PyTorch, whose operator is only exact where channels lie first."""
    images = grid.movedim(-1, 1).contiguous()
    return F.group_norm(images, groups, weight, bias, epsilon).movedim(1, -1)


def assert_normalises(
    kernel: KernelLibrary, grid: Tensor, groups: int, epsilon: float = 1e-5
) -> None:
    channels = grid.shape[-1]
    weight, bias = random_numbers(channels, seed=1), random_numbers(channels, seed=2)
    found = group_norm(kernel, grid, weight, bias, groups, epsilon)
    plain = normalise(grid, weight, bias, groups, epsilon)
    exact = normalise(grid.double(), weight.double(), bias.double(), groups, epsilon)
    assert_as_exact(found, plain, exact)


@pytest.mark.parametrize(("channels", "groups"), [(2, 1), (8, 4), (16, 8), (12, 3), (256, 32)])
@pytest.mark.parametrize(("height", "width"), [(1, 5), (7, 9), (8, 8), (13, 20)])
def test_group_normalisation_of_any_size(
    kernel: KernelLibrary, height: int, width: int, channels: int, groups: int
) -> None:
    grid = random_numbers(3, height, width, channels) * 3.0 + 0.5
    assert_normalises(kernel, grid, groups)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-1])
def test_group_normalisation_takes_its_epsilon(kernel: KernelLibrary, epsilon: float) -> None:
    assert_normalises(kernel, random_numbers(1, 9, 9, 8) * 0.1, 4, epsilon=epsilon)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (23, 40), (90, 160)])
@pytest.mark.parametrize(("mean", "deviation"), [(1e3, 1e-2), (1e3, 1.0), (10.0, 1e-2), (0.0, 1e3)])
def test_group_normalisation_of_numbers_far_from_zero_and_close_together(
    kernel: KernelLibrary, mean: float, deviation: float, height: int, width: int
) -> None:
    assert_normalises(kernel, random_numbers(1, height, width, 16) * deviation + mean, 8)


def test_equal_numbers_are_group_normalised_to_the_bias(kernel: KernelLibrary) -> None:
    weight, bias = random_numbers(16), random_numbers(16, seed=1)
    found = group_norm(kernel, torch.full((2, 5, 5, 16), 0.5), weight, bias, 4, 1e-5)
    assert torch.equal(found, bias.expand(2, 5, 5, -1))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_bad_number_makes_its_image_s_group_bad_and_no_other(
    kernel: KernelLibrary, bad: float
) -> None:
    grid, weight, bias = random_numbers(2, 9, 11, 12), torch.ones(12), torch.zeros(12)
    before = group_norm(kernel, grid, weight, bias, 3, 1e-5)
    grid[1, 4, 4, 5] = bad
    found = group_norm(kernel, grid, weight, bias, 3, 1e-5)
    assert found[1, ..., 4:8].isnan().all()
    assert torch.equal(found[0], before[0])
    for others in (slice(0, 4), slice(8, 12)):
        assert torch.equal(found[1, ..., others], before[1, ..., others])


def test_an_image_is_normalised_the_same_alone_and_for_any_number_of_threads(
    kernel: KernelLibrary,
) -> None:
    grid = random_numbers(3, 16, 60, 70).permute(0, 2, 3, 1)
    weight, bias = random_numbers(16, seed=1), random_numbers(16, seed=2)
    together = group_norm(kernel, grid, weight, bias, 8, 1e-5)
    for image in range(3):
        one = slice(image, image + 1)
        alone = group_norm(kernel, grid[one].contiguous(), weight, bias, 8, 1e-5)
        assert torch.equal(alone, together[one])
    torch.set_num_threads(1)
    assert torch.equal(group_norm(kernel, grid, weight, bias, 8, 1e-5), together)
