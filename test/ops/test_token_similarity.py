# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernel of token similarity against float64."""

from __future__ import annotations

import math

import pytest
import torch
from kernel_exactness import assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.network.token_similarity import TokenSimilarity
from referdino_core.ops.library import KernelLibrary, kernel_library
from referdino_core.ops.token_similarity import fused_token_similarity

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")


def padding_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def portable(queries: Tensor, text: Tensor, padding: Tensor) -> Tensor:
    """The formula, which a graph that is being recorded would hold."""
    similarities = queries @ text.transpose(-1, -2)
    return similarities.masked_fill(padding[..., None, :], -math.inf).amax(-1)


def similarity_of(
    kernel: KernelLibrary,
    queries: Tensor,
    text: Tensor,
    padding: Tensor,
    scale: float,
    offset: float,
) -> Tensor:
    """The kernel's, times a scale, plus an offset."""
    return fused_token_similarity(
        kernel, queries, text, padding, torch.tensor(scale).log(), torch.tensor(offset)
    )


def assert_fits(kernel: KernelLibrary, queries: Tensor, text: Tensor, padding: Tensor) -> None:
    """With and without a scale and an offset."""
    for scale, offset in ((1.0, 0.0), (0.125, -6.0)):
        found = similarity_of(kernel, queries, text, padding, scale, offset)
        plain = portable(queries, text, padding) * scale + offset
        exact = portable(queries.double(), text.double(), padding) * scale + offset
        assert_as_exact(found, plain, exact)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 96, 130])
@pytest.mark.parametrize("tokens", [1, 5, 32])
def test_similarity_of_any_width_and_number_of_tokens(
    kernel: KernelLibrary, tokens: int, width: int
) -> None:
    for queries in (1, 8, 300):
        inputs = random_numbers(1, queries, width), random_numbers(1, tokens, width, seed=1)
        assert_fits(kernel, *inputs, padding_of(tokens))


def test_padding_fits_no_query(kernel: KernelLibrary) -> None:
    queries, text = random_numbers(3, 50, 48), random_numbers(3, 9, 48, seed=1)
    padding = padding_of(9, 1, 5)
    assert_fits(kernel, queries, text, padding)
    found = similarity_of(kernel, queries, text, padding, 1.0, 0.0)
    other = torch.where(padding[..., None], torch.full_like(text, math.nan), text)
    assert torch.equal(similarity_of(kernel, queries, other, padding, 1.0, 0.0), found)


@pytest.mark.parametrize("frames", [1, 4])
def test_a_sentence_s_padding_serves_all_frames_of_its_window(
    kernel: KernelLibrary, frames: int
) -> None:
    queries, text = random_numbers(3, frames, 20, 48), random_numbers(3, frames, 9, 48, seed=1)
    padding = padding_of(9, 1, 5)[:, None]
    assert_fits(kernel, queries, text, padding)
    each = padding.expand(-1, frames, -1)
    found = similarity_of(kernel, queries, text, padding, 1.0, 0.0)
    assert torch.equal(similarity_of(kernel, queries, text, each, 1.0, 0.0), found)


def test_a_sentence_of_padding_fits_nothing(kernel: KernelLibrary) -> None:
    queries, text = random_numbers(2, 5, 16), random_numbers(2, 3, 16, seed=1)
    padding = padding_of(3, 0)
    found = similarity_of(kernel, queries, text, padding, 2.0, 1.0)
    assert found[0].isfinite().all() and torch.equal(found[1], torch.full((5,), -math.inf))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_similarity_that_is_no_number_stays_none(kernel: KernelLibrary, place: int) -> None:
    queries, text = random_numbers(1, 6, 20), random_numbers(1, 4, 20, seed=1)
    bad_queries, bad_text = queries.clone(), text.clone()
    bad_queries[0, 2, 7] = bad_text[0, place, 3] = math.nan
    for inputs in ((bad_queries, text), (queries, bad_text)):
        found = similarity_of(kernel, *inputs, padding_of(4), 0.5, -1.0)
        expected = portable(*inputs, padding_of(4)) * 0.5 - 1.0
        torch.testing.assert_close(found, expected, equal_nan=True)


def test_similarity_is_the_same_alone_and_for_any_number_of_threads(kernel: KernelLibrary) -> None:
    queries, text = random_numbers(3, 900, 96), random_numbers(3, 11, 96, seed=1)
    padding = padding_of(11, 4, 7)
    together = similarity_of(kernel, queries, text, padding, 0.3, -2.0)
    for sentence in range(3):
        one = slice(sentence, sentence + 1)
        alone = similarity_of(kernel, queries[one, 5:6], text[one], padding[one], 0.3, -2.0)
        assert torch.equal(alone, together[one, 5:6])
    torch.set_num_threads(1)
    apart = [one.transpose(1, 2).contiguous().transpose(1, 2) for one in (queries, text)]
    assert torch.equal(similarity_of(kernel, *apart, padding, 0.3, -2.0), together)


@pytest.mark.parametrize("calibrated", [False, True], ids=["released", "calibrated"])
def test_the_network_takes_the_kernel_where_no_gradient_is_asked_for(calibrated: bool) -> None:
    similarity = TokenSimilarity(64, calibrated)
    queries, text = random_numbers(2, 40, 64), random_numbers(2, 8, 64, seed=1)
    padding = padding_of(8, 3)
    library = kernel_library()
    assert library is not None
    found = similarity(queries, text, padding)
    scale = similarity.log_scale, similarity.offset
    assert torch.equal(found, fused_token_similarity(library, queries, text, padding, *scale))
    exact = similarity.double()(queries.double(), text.double(), padding)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    with torch.inference_mode(False), torch.enable_grad():
        wanted = queries.clone().requires_grad_()
        TokenSimilarity(64, calibrated)(wanted, text.clone(), padding.clone()).sum().backward()
        assert wanted.grad is not None and bool(wanted.grad.any())


def test_queries_text_and_padding_broadcast(kernel: KernelLibrary) -> None:
    queries, text = random_numbers(3, 4, 20, 48), random_numbers(9, 48, seed=1)
    padding = padding_of(9, 1, 5, 7)
    found = fused_token_similarity(kernel, queries, text, padding)
    spread = text.expand(3, 4, -1, -1).contiguous(), padding.expand(3, -1, -1).contiguous()
    assert torch.equal(found, fused_token_similarity(kernel, queries, *spread))
    torch.testing.assert_close(found, portable(queries, text, padding))


@pytest.mark.parametrize("learnt", ["log_scale", "offset"])
def test_a_scale_or_offset_that_is_learnt_alone_gets_its_gradient(learnt: str) -> None:
    with torch.inference_mode(False), torch.enable_grad():
        similarity = TokenSimilarity(16, calibrated=True)
        inputs = torch.rand(2, 5, 16), torch.rand(2, 3, 16), padding_of(3, 1)
        similarity(*inputs).sum().backward()
        gradient = getattr(similarity, learnt).grad
        assert gradient is not None and bool(gradient)


def test_weights_of_another_type_are_read_as_they_are() -> None:
    similarity = TokenSimilarity(16, calibrated=True)
    inputs = random_numbers(2, 5, 16), random_numbers(2, 3, 16, seed=1), padding_of(3, 1)
    expected = similarity(*inputs)
    torch.testing.assert_close(similarity.double()(*inputs).float(), expected)
