# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernel of linear layers against PyTorch in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from kernel_exactness import PLACE, assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import Activation, linear, pack_linear

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")

EPSILON = 1e-5
FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
}
ROWS = (1, 7, 8, 9, 130)
COLUMNS = (1, 15, 16, 17, 31, 32, 33, 70)
INPUTS = (1, 255, 256, 257, 1030)
WIDTHS = (1, 3, 7, 8, 9, 96, 257)


def layer(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Weights that leave numbers at their scale, and biases."""
    weight = random_numbers(outputs, inputs, seed=inputs) * inputs**-0.5
    return weight, random_numbers(outputs, seed=outputs)


# ---- Linear layers ----


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("outputs", COLUMNS)
def test_linear_layers_of_any_size(kernel: KernelLibrary, outputs: int, inputs: int) -> None:
    weight, bias = layer(inputs, outputs)
    packed = pack_linear(kernel, weight)
    for rows in ROWS:
        features = random_numbers(rows, inputs, seed=rows)
        for some_bias in (bias, None):
            found = linear(kernel, features, packed, some_bias, outputs)
            double_bias = None if some_bias is None else some_bias.double()
            exact = F.linear(features.double(), weight.double(), double_bias)
            # Of few products, PyTorch's own error is often none at all.
            terms = 2 * PLACE * min(inputs, 256) ** 0.5
            assert (found.double() - exact).abs().amax() <= terms * exact.abs().amax().clamp(1)
            # A library without fused multiply-adds, which rounds the products too, computes none
            # of the network's layers.
            if rows * outputs >= 100 and kernel.has_fast_matmul:
                assert_as_exact(found, F.linear(features, weight, some_bias), exact)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("outputs", [1, 24, 32, 45])
@pytest.mark.parametrize("inputs", [20, 300])
def test_linear_layers_with_an_activation_and_a_sum(
    kernel: KernelLibrary, inputs: int, outputs: int, activation: Activation
) -> None:
    function = FUNCTIONS[activation]
    weight, bias = layer(inputs, outputs)
    packed = pack_linear(kernel, weight)
    features = random_numbers(3, 50, inputs)
    added = random_numbers(3, 50, outputs, seed=1)
    found = linear(kernel, features, packed, bias, outputs, added, activation)
    plain = function(F.linear(features, weight, bias)) + added
    exact = function(F.linear(features.double(), weight.double(), bias.double()))
    assert_as_exact(found, plain, exact + added.double())


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("outputs", [1, 16, 21])
def test_activations_of_extreme_numbers_are_those_of_pytorch(
    kernel: KernelLibrary, outputs: int, activation: Activation
) -> None:
    extremes = [1e3, -1e3, 20.0, -20.0, 5.0, -5.0, 1e-8, -1e-8, 1e-30, -1e-30, 0.0, -0.0]
    extremes += [1e38, -1e38, math.inf, -math.inf, math.nan]
    numbers = torch.tensor(extremes)[:, None]
    packed = pack_linear(kernel, torch.ones(outputs, 1))
    found = linear(kernel, numbers, packed, None, outputs, activation=activation)
    expected = FUNCTIONS[activation](numbers.double()).expand(-1, outputs)
    # GELU's share is known to 2e-7, of the larger of 1 and the number.
    tolerance = {"rtol": 2e-7, "atol": 2e-7} if activation == "gelu" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(found, expected.float(), equal_nan=True, **tolerance)


def test_gelu_is_exact_to_2e_7_of_the_larger_of_1_and_the_number(kernel: KernelLibrary) -> None:
    numbers = torch.linspace(-12.0, 12.0, 200_001)[:, None]
    found = linear(
        kernel, numbers, pack_linear(kernel, torch.ones(1, 1)), None, 1, activation="gelu"
    )
    error = (found.double() - F.gelu(numbers.double())).abs()
    assert (error / numbers.abs().clamp(1.0)).amax() <= 2e-7


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_bad_number_stays_in_its_row(kernel: KernelLibrary, bad: float) -> None:
    weight, bias = layer(40, 37)
    packed = pack_linear(kernel, weight)
    features = random_numbers(21, 40)
    before = linear(kernel, features, packed, bias, 37)
    features[9, 3] = bad
    found = linear(kernel, features, packed, bias, 37)
    assert not found[9].isfinite().any()
    assert torch.equal(found[:9], before[:9]) and torch.equal(found[10:], before[10:])


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_a_row_is_the_same_alone_and_with_others_and_for_any_number_of_threads(
    kernel: KernelLibrary, activation: Activation
) -> None:
    weight, bias = layer(515, 75)
    packed = pack_linear(kernel, weight)
    features, added = random_numbers(401, 515), random_numbers(401, 75, seed=1)
    together = linear(kernel, features, packed, bias, 75, added, activation)
    for rows in (1, 2, 5, 8, 13, 129):
        some = linear(kernel, features[:rows], packed, bias, 75, added[:rows], activation)
        assert torch.equal(some, together[:rows])
    for row in (0, 7, 100, 399, 400):
        alone = slice(row, row + 1)
        one = linear(kernel, features[alone], packed, bias, 75, added[alone], activation)
        assert torch.equal(one, together[alone])
    torch.set_num_threads(1)
    assert torch.equal(linear(kernel, features, packed, bias, 75, added, activation), together)


def test_inputs_whose_numbers_are_apart_are_read_as_they_are_meant(kernel: KernelLibrary) -> None:
    weight, bias = layer(40, 37)
    features, added = random_numbers(40, 3, 11), random_numbers(37, 33)
    assert torch.equal(
        pack_linear(kernel, weight.t().contiguous().t()), pack_linear(kernel, weight)
    )
    packed = pack_linear(kernel, weight)
    expected = linear(
        kernel, features.permute(1, 2, 0).contiguous(), packed, bias, 37, added.t().contiguous()
    )
    found = linear(kernel, features.permute(1, 2, 0), packed, bias, 37, added.t())
    assert torch.equal(found, expected)


def test_no_rows_give_no_rows(kernel: KernelLibrary) -> None:
    weight, bias = layer(40, 37)
    packed = pack_linear(kernel, weight)
    assert linear(kernel, torch.empty(2, 0, 40), packed, bias, 37).shape == (2, 0, 37)
