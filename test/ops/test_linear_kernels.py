# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernels of linear layers and layer normalisation against PyTorch in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from kernel_exactness import PLACE, assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.kernels import FusedKernel
from referdino_core.kernels.weights import Activation

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
def test_linear_layers_of_any_size(kernel: FusedKernel, outputs: int, inputs: int) -> None:
    weight, bias = layer(inputs, outputs)
    packed = kernel.pack_linear(weight)
    for rows in ROWS:
        features = random_numbers(rows, inputs, seed=rows)
        for some_bias in (bias, None):
            found = kernel.linear(features, packed, some_bias, outputs)
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
    kernel: FusedKernel, inputs: int, outputs: int, activation: Activation
) -> None:
    function = FUNCTIONS[activation]
    weight, bias = layer(inputs, outputs)
    packed = kernel.pack_linear(weight)
    features = random_numbers(3, 50, inputs)
    added = random_numbers(3, 50, outputs, seed=1)
    found = kernel.linear(features, packed, bias, outputs, added, activation)
    plain = function(F.linear(features, weight, bias)) + added
    exact = function(F.linear(features.double(), weight.double(), bias.double()))
    assert_as_exact(found, plain, exact + added.double())


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("outputs", [1, 16, 21])
def test_activations_of_extreme_numbers_are_those_of_pytorch(
    kernel: FusedKernel, outputs: int, activation: Activation
) -> None:
    extremes = [1e3, -1e3, 20.0, -20.0, 5.0, -5.0, 1e-8, -1e-8, 1e-30, -1e-30, 0.0, -0.0]
    extremes += [1e38, -1e38, math.inf, -math.inf, math.nan]
    numbers = torch.tensor(extremes)[:, None]
    packed = kernel.pack_linear(torch.ones(outputs, 1))
    found = kernel.linear(numbers, packed, None, outputs, activation=activation)
    expected = FUNCTIONS[activation](numbers.double()).expand(-1, outputs)
    # GELU's share is known to 2e-7, of the larger of 1 and the number.
    tolerance = {"rtol": 2e-7, "atol": 2e-7} if activation == "gelu" else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(found, expected.float(), equal_nan=True, **tolerance)


def test_gelu_is_exact_to_2e_7_of_the_larger_of_1_and_the_number(kernel: FusedKernel) -> None:
    numbers = torch.linspace(-12.0, 12.0, 200_001)[:, None]
    found = kernel.linear(numbers, kernel.pack_linear(torch.ones(1, 1)), None, 1, activation="gelu")
    error = (found.double() - F.gelu(numbers.double())).abs()
    assert (error / numbers.abs().clamp(1.0)).amax() <= 2e-7


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_bad_number_stays_in_its_row(kernel: FusedKernel, bad: float) -> None:
    weight, bias = layer(40, 37)
    packed = kernel.pack_linear(weight)
    features = random_numbers(21, 40)
    before = kernel.linear(features, packed, bias, 37)
    features[9, 3] = bad
    found = kernel.linear(features, packed, bias, 37)
    assert not found[9].isfinite().any()
    assert torch.equal(found[:9], before[:9]) and torch.equal(found[10:], before[10:])


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_a_row_is_the_same_alone_and_with_others_and_for_any_number_of_threads(
    kernel: FusedKernel, activation: Activation
) -> None:
    weight, bias = layer(515, 75)
    packed = kernel.pack_linear(weight)
    features, added = random_numbers(401, 515), random_numbers(401, 75, seed=1)
    together = kernel.linear(features, packed, bias, 75, added, activation)
    for rows in (1, 2, 5, 8, 13, 129):
        some = kernel.linear(features[:rows], packed, bias, 75, added[:rows], activation)
        assert torch.equal(some, together[:rows])
    for row in (0, 7, 100, 399, 400):
        alone = slice(row, row + 1)
        one = kernel.linear(features[alone], packed, bias, 75, added[alone], activation)
        assert torch.equal(one, together[alone])
    torch.set_num_threads(1)
    assert torch.equal(kernel.linear(features, packed, bias, 75, added, activation), together)


def test_inputs_whose_numbers_are_apart_are_read_as_they_are_meant(kernel: FusedKernel) -> None:
    weight, bias = layer(40, 37)
    features, added = random_numbers(40, 3, 11), random_numbers(37, 33)
    assert torch.equal(kernel.pack_linear(weight.t().contiguous().t()), kernel.pack_linear(weight))
    packed = kernel.pack_linear(weight)
    expected = kernel.linear(
        features.permute(1, 2, 0).contiguous(), packed, bias, 37, added.t().contiguous()
    )
    found = kernel.linear(features.permute(1, 2, 0), packed, bias, 37, added.t())
    assert torch.equal(found, expected)


def test_no_rows_give_no_rows(kernel: FusedKernel) -> None:
    weight, bias = layer(40, 37)
    packed = kernel.pack_linear(weight)
    assert kernel.linear(torch.empty(2, 0, 40), packed, bias, 37).shape == (2, 0, 37)


# ---- Layer normalisation ----


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_layer_normalisation_of_any_width(kernel: FusedKernel, rows: int, width: int) -> None:
    features, update = random_numbers(rows, width), random_numbers(rows, width, seed=1)
    weight, bias = random_numbers(width, seed=2), random_numbers(width, seed=3)
    for added in (None, update):
        found = kernel.layer_norm(features, weight, bias, EPSILON, added)
        total = features if added is None else features + added
        plain = F.layer_norm(total, (width,), weight, bias)
        # Of what is exactly representable: near-equal numbers lose digits in the sum itself.
        exact = F.layer_norm(total.double(), (width,), weight.double(), bias.double())
        assert_as_exact(found, plain, exact)


@pytest.mark.parametrize("mean", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("deviation", [1e-2, 1.0, 1e3])
def test_layer_normalisation_of_numbers_far_from_zero_and_close_together(
    kernel: FusedKernel, deviation: float, mean: float
) -> None:
    features = random_numbers(50, 257) * deviation + mean
    weight, bias = random_numbers(257, seed=2), random_numbers(257, seed=3)
    found = kernel.layer_norm(features, weight, bias, EPSILON)
    plain = F.layer_norm(features, (257,), weight, bias)
    exact = F.layer_norm(features.double(), (257,), weight.double(), bias.double())
    assert_as_exact(found, plain, exact)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_bad_number_makes_its_row_bad_and_no_other(kernel: FusedKernel, bad: float) -> None:
    features = random_numbers(9, 20)
    weight, bias = torch.ones(20), torch.zeros(20)
    before = kernel.layer_norm(features, weight, bias, EPSILON)
    features[4, 17] = bad
    found = kernel.layer_norm(features, weight, bias, EPSILON)
    assert found[4].isnan().all()
    assert torch.equal(found[:4], before[:4]) and torch.equal(found[5:], before[5:])


def test_equal_numbers_are_normalised_to_the_bias(kernel: FusedKernel) -> None:
    weight, bias = random_numbers(24), random_numbers(24, seed=1)
    found = kernel.layer_norm(torch.full((3, 24), 0.5), weight, bias, EPSILON)
    assert torch.equal(found, bias.expand(3, -1))


def test_a_normalised_row_is_the_same_alone_and_for_any_number_of_threads(
    kernel: FusedKernel,
) -> None:
    features, added = random_numbers(400, 99), random_numbers(400, 99, seed=1)
    weight, bias = random_numbers(99, seed=2), random_numbers(99, seed=3)
    together = kernel.layer_norm(features, weight, bias, EPSILON, added)
    for row in (0, 199, 399):
        alone = slice(row, row + 1)
        one = kernel.layer_norm(features[alone], weight, bias, EPSILON, added[alone])
        assert torch.equal(one, together[alone])
    torch.set_num_threads(1)
    assert torch.equal(kernel.layer_norm(features, weight, bias, EPSILON, added), together)


def test_features_whose_numbers_are_apart_are_normalised_as_they_are_meant(
    kernel: FusedKernel,
) -> None:
    features, added = random_numbers(99, 4, 5), random_numbers(4, 99, 5, seed=1)
    weight, bias = random_numbers(99, seed=2), random_numbers(99, seed=3)
    apart = features.permute(1, 2, 0), added.transpose(1, 2)
    found = kernel.layer_norm(apart[0], weight, bias, EPSILON, apart[1])
    expected = kernel.layer_norm(
        apart[0].contiguous(), weight, bias, EPSILON, apart[1].contiguous()
    )
    assert torch.equal(found, expected)
