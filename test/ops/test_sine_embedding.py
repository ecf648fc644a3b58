# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernels of sine embeddings against float64."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_exactness import random_numbers
from torch import Tensor

from referdino_core.network.position_encoding import SineEmbedding
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.sine_embedding import (
    box_embedding,
    fused_box_embedding,
    fused_sine_embedding,
    sine_embedding,
)

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")

SINE_TOLERANCE = 4e-7
LARGEST_ANGLE = 4096.0


def embed(angles: Tensor, wavelengths: Tensor) -> Tensor:
    """In float64, of the quotient in float32, which is the network's."""
    quotients = (angles[..., None] / wavelengths).double()
    return torch.stack((quotients.sin(), quotients.cos()), dim=-1).flatten(-2)


def wavelengths_of(pairs: int) -> Tensor:
    return 10000.0 ** (torch.arange(pairs) / pairs)


def assert_embeds(kernel: KernelLibrary, angles: Tensor, wavelengths: Tensor) -> None:
    found = fused_sine_embedding(kernel, angles, wavelengths)
    assert found.dtype == torch.float32 and found.abs().amax() <= 1.0 + SINE_TOLERANCE
    expected = embed(angles, wavelengths)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=SINE_TOLERANCE)


@pytest.mark.parametrize("pairs", [1, 7, 8, 9, 32, 45])
def test_sines_of_any_number_of_wavelengths(kernel: KernelLibrary, pairs: int) -> None:
    angles = (torch.rand(3, 20, 4, generator=torch.Generator().manual_seed(0)) - 0.2) * 2 * math.pi
    assert_embeds(kernel, angles, wavelengths_of(pairs))


def test_sines_of_angles_up_to_the_largest(kernel: KernelLibrary) -> None:
    angles = torch.linspace(-LARGEST_ANGLE, LARGEST_ANGLE, 100_001)
    assert_embeds(kernel, angles, torch.linspace(1.0, 2.0, 8))


def test_sines_of_angles_next_to_half_turns(kernel: KernelLibrary) -> None:
    quarters = (torch.arange(-2600, 2601) * (math.pi / 2)).float()
    for neighbour in (quarters, quarters.nextafter(torch.tensor(1e9)), -quarters * (1 + 1e-6)):
        assert_embeds(kernel, neighbour.contiguous(), torch.ones(8))


def test_sines_of_larger_angles_are_as_exact(kernel: KernelLibrary) -> None:
    angles = torch.tensor([4096.0, 4096.5, -4097.0, 1e5, -1e7, 1e9, 3e38])
    assert_embeds(kernel, angles, wavelengths_of(16))


def test_sines_of_tiny_angles_keep_them(kernel: KernelLibrary) -> None:
    angles = torch.tensor([0.0, 1e-30, -1e-20, 1e-8, 1e-4])
    found = fused_sine_embedding(kernel, angles, torch.ones(8)).unflatten(-1, (8, 2))
    torch.testing.assert_close(found[..., 0], angles[:, None].sin().expand(-1, 8))
    assert torch.equal(found[..., 1], torch.ones(5, 8))


@pytest.mark.parametrize("pairs", [8, 9])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_the_sine_of_no_angle_is_no_number(kernel: KernelLibrary, bad: float, pairs: int) -> None:
    found = fused_sine_embedding(kernel, torch.tensor([1.0, bad, 2.0]), wavelengths_of(pairs))
    assert found[1].isnan().all()
    assert torch.equal(
        found[[0, 2]], fused_sine_embedding(kernel, torch.tensor([1.0, 2.0]), wavelengths_of(pairs))
    )


def test_angles_whose_numbers_are_apart_are_read_as_they_are_meant(kernel: KernelLibrary) -> None:
    angles = random_numbers(5, 30).t()
    found = fused_sine_embedding(kernel, angles, wavelengths_of(8))
    assert torch.equal(found, fused_sine_embedding(kernel, angles.contiguous(), wavelengths_of(8)))


@pytest.mark.parametrize(("features", "temperature"), [(32, 20.0), (48, 100.0), (128, 10000.0)])
def test_the_formula_and_the_network_s_embedding_agree(features: int, temperature: float) -> None:
    embedding = SineEmbedding(features, temperature)
    for angles in (random_numbers(2, 30) * 6.0, torch.arange(40), torch.rand(3, 5).double()):
        found = embedding(angles)
        assert found.dtype == torch.float32
        plain = sine_embedding(angles.float().double(), embedding.wavelengths.double())
        torch.testing.assert_close(found.double(), plain, rtol=0, atol=3e-6)


def test_boxes_are_embedded_in_the_order_y_x_w_h(kernel: KernelLibrary) -> None:
    boxes = torch.rand(2, 30, 4, generator=torch.Generator())
    boxes[0, :3] = torch.tensor([[0.0], [1.0], [1e-4]])
    wavelengths = SineEmbedding(16, 10000.0).wavelengths
    found = fused_box_embedding(kernel, boxes, wavelengths)
    turns = (boxes * (2 * math.pi))[..., [1, 0, 2, 3]]
    expected = embed(turns, wavelengths).flatten(-2)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=SINE_TOLERANCE)
    torch.testing.assert_close(
        box_embedding(boxes.double(), wavelengths.double()), expected, rtol=0, atol=1e-6
    )
