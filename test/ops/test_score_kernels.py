# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernels of token similarity and sine embeddings against float64."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_exactness import assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.inference.position_encoding import KernelSineEmbedding
from referdino_core.inference.token_similarity import KernelTokenSimilarity
from referdino_core.kernels import FusedKernel
from referdino_core.network.position_encoding import SineEmbedding
from referdino_core.network.token_similarity import TokenSimilarity, token_similarity

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")

SINE_TOLERANCE = 4e-7
LARGEST_ANGLE = 4096.0


# ---- Token similarity ----


def padding_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def assert_fits(kernel: FusedKernel, queries: Tensor, text: Tensor, padding: Tensor) -> None:
    """With and without a scale and an offset."""
    for scale, offset in ((1.0, 0.0), (0.125, -6.0)):
        found = kernel.token_similarity(queries, text, padding, scale, offset)
        plain = token_similarity(queries, text, padding) * scale + offset
        exact = token_similarity(queries.double(), text.double(), padding) * scale + offset
        assert_as_exact(found, plain, exact)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 96, 130])
@pytest.mark.parametrize("tokens", [1, 5, 32])
def test_similarity_of_any_width_and_number_of_tokens(
    kernel: FusedKernel, tokens: int, width: int
) -> None:
    for queries in (1, 8, 300):
        inputs = random_numbers(1, queries, width), random_numbers(1, tokens, width, seed=1)
        assert_fits(kernel, *inputs, padding_of(tokens))


def test_padding_fits_no_query(kernel: FusedKernel) -> None:
    queries, text = random_numbers(3, 50, 48), random_numbers(3, 9, 48, seed=1)
    padding = padding_of(9, 1, 5)
    assert_fits(kernel, queries, text, padding)
    found = kernel.token_similarity(queries, text, padding, 1.0, 0.0)
    other = torch.where(padding[..., None], torch.full_like(text, math.nan), text)
    assert torch.equal(kernel.token_similarity(queries, other, padding, 1.0, 0.0), found)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_sentence_s_padding_serves_all_frames_of_its_window(
    kernel: FusedKernel, frames: int
) -> None:
    queries, text = random_numbers(3, frames, 20, 48), random_numbers(3, frames, 9, 48, seed=1)
    padding = padding_of(9, 1, 5)[:, None]
    assert_fits(kernel, queries, text, padding)
    each = padding.expand(-1, frames, -1)
    found = kernel.token_similarity(queries, text, padding, 1.0, 0.0)
    assert torch.equal(kernel.token_similarity(queries, text, each, 1.0, 0.0), found)


def test_a_sentence_of_padding_fits_nothing(kernel: FusedKernel) -> None:
    queries, text = random_numbers(2, 5, 16), random_numbers(2, 3, 16, seed=1)
    padding = padding_of(3, 0)
    found = kernel.token_similarity(queries, text, padding, 2.0, 1.0)
    assert found[0].isfinite().all() and torch.equal(found[1], torch.full((5,), -math.inf))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_similarity_that_is_no_number_stays_none(kernel: FusedKernel, place: int) -> None:
    queries, text = random_numbers(1, 6, 20), random_numbers(1, 4, 20, seed=1)
    bad_queries, bad_text = queries.clone(), text.clone()
    bad_queries[0, 2, 7] = bad_text[0, place, 3] = math.nan
    for inputs in ((bad_queries, text), (queries, bad_text)):
        found = kernel.token_similarity(*inputs, padding_of(4), 0.5, -1.0)
        expected = token_similarity(*inputs, padding_of(4)) * 0.5 - 1.0
        torch.testing.assert_close(found, expected, equal_nan=True)


def test_similarity_is_the_same_alone_and_for_any_number_of_threads(kernel: FusedKernel) -> None:
    queries, text = random_numbers(3, 900, 96), random_numbers(3, 11, 96, seed=1)
    padding = padding_of(11, 4, 7)
    together = kernel.token_similarity(queries, text, padding, 0.3, -2.0)
    for sentence in range(3):
        one = slice(sentence, sentence + 1)
        alone = kernel.token_similarity(queries[one, 5:6], text[one], padding[one], 0.3, -2.0)
        assert torch.equal(alone, together[one, 5:6])
    torch.set_num_threads(1)
    apart = [one.transpose(1, 2).contiguous().transpose(1, 2) for one in (queries, text)]
    assert torch.equal(kernel.token_similarity(*apart, padding, 0.3, -2.0), together)


@pytest.mark.parametrize("calibrated", [False, True], ids=["released", "calibrated"])
def test_the_prepared_block_is_the_network_s(kernel: FusedKernel, calibrated: bool) -> None:
    similarity = TokenSimilarity(64, calibrated)
    if similarity.log_scale is not None:
        similarity.log_scale.add_(0.7)
    queries, text = random_numbers(2, 40, 64), random_numbers(2, 8, 64, seed=1)
    padding = padding_of(8, 3)
    found = KernelTokenSimilarity(similarity, kernel)(queries, text, padding)
    plain = similarity(queries, text, padding)
    exact = similarity.double()(queries.double(), text.double(), padding)
    assert_as_exact(found, plain, exact)


# ---- Sine embeddings ----


def embed(angles: Tensor, wavelengths: Tensor) -> Tensor:
    """In float64, of the quotient in float32, which is the network's."""
    quotients = (angles[..., None] / wavelengths).double()
    return torch.stack((quotients.sin(), quotients.cos()), dim=-1).flatten(-2)


def wavelengths_of(pairs: int) -> Tensor:
    return 10000.0 ** (torch.arange(pairs) / pairs)


def assert_embeds(kernel: FusedKernel, angles: Tensor, wavelengths: Tensor) -> None:
    found = kernel.sine_embedding(angles, wavelengths)
    assert found.dtype == torch.float32 and found.abs().amax() <= 1.0 + SINE_TOLERANCE
    expected = embed(angles, wavelengths)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=SINE_TOLERANCE)


@pytest.mark.parametrize("pairs", [1, 7, 8, 9, 32, 45])
def test_sines_of_any_number_of_wavelengths(kernel: FusedKernel, pairs: int) -> None:
    angles = (torch.rand(3, 20, 4, generator=torch.Generator().manual_seed(0)) - 0.2) * 2 * math.pi
    assert_embeds(kernel, angles, wavelengths_of(pairs))


def test_sines_of_angles_up_to_the_largest(kernel: FusedKernel) -> None:
    angles = torch.linspace(-LARGEST_ANGLE, LARGEST_ANGLE, 100_001)
    assert_embeds(kernel, angles, torch.linspace(1.0, 2.0, 8))


def test_sines_of_angles_next_to_half_turns(kernel: FusedKernel) -> None:
    quarters = (torch.arange(-2600, 2601) * (math.pi / 2)).float()
    for neighbour in (quarters, quarters.nextafter(torch.tensor(1e9)), -quarters * (1 + 1e-6)):
        assert_embeds(kernel, neighbour.contiguous(), torch.ones(8))


def test_sines_of_larger_angles_are_as_exact(kernel: FusedKernel) -> None:
    angles = torch.tensor([4096.0, 4096.5, -4097.0, 1e5, -1e7, 1e9, 3e38])
    assert_embeds(kernel, angles, wavelengths_of(16))


def test_sines_of_tiny_angles_keep_them(kernel: FusedKernel) -> None:
    angles = torch.tensor([0.0, 1e-30, -1e-20, 1e-8, 1e-4])
    found = kernel.sine_embedding(angles, torch.ones(8)).unflatten(-1, (8, 2))
    torch.testing.assert_close(found[..., 0], angles[:, None].sin().expand(-1, 8))
    assert torch.equal(found[..., 1], torch.ones(5, 8))


@pytest.mark.parametrize("pairs", [8, 9])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_the_sine_of_no_angle_is_no_number(kernel: FusedKernel, bad: float, pairs: int) -> None:
    found = kernel.sine_embedding(torch.tensor([1.0, bad, 2.0]), wavelengths_of(pairs))
    assert found[1].isnan().all()
    assert torch.equal(
        found[[0, 2]], kernel.sine_embedding(torch.tensor([1.0, 2.0]), wavelengths_of(pairs))
    )


def test_angles_whose_numbers_are_apart_are_read_as_they_are_meant(kernel: FusedKernel) -> None:
    angles = random_numbers(5, 30).t()
    found = kernel.sine_embedding(angles, wavelengths_of(8))
    assert torch.equal(found, kernel.sine_embedding(angles.contiguous(), wavelengths_of(8)))


@pytest.mark.parametrize(("features", "temperature"), [(32, 20.0), (48, 100.0), (128, 10000.0)])
def test_the_prepared_embedding_is_the_network_s(
    kernel: FusedKernel, features: int, temperature: float
) -> None:
    embedding = SineEmbedding(features, temperature)
    prepared = KernelSineEmbedding(embedding, kernel)
    for angles in (random_numbers(2, 30) * 6.0, torch.arange(40), torch.rand(3, 5).double()):
        found = prepared(angles)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, embedding(angles), rtol=0, atol=SINE_TOLERANCE)
