# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Similarity of queries to the most similar token of a sentence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from referdino_core.network.token_similarity import TokenSimilarity, token_similarity


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padding_of(*lengths: int) -> Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


def test_the_best_token_counts_and_padding_never_does() -> None:
    queries = torch.tensor([[[1.0, 0.0], [0.0, -2.0]]])
    text = torch.tensor([[[3.0, 1.0], [2.0, -4.0], [99.0, -99.0]]])
    found = token_similarity(queries, text, padding_of(2, 3)[:1])
    assert torch.equal(found, torch.tensor([[3.0, 8.0]]))


def test_a_sentence_of_padding_fits_nothing() -> None:
    found = TokenSimilarity(16, calibrated=True)(
        random(2, 5, 16), random(2, 3, 16), padding_of(3, 0)
    )
    assert found[0].isfinite().all() and torch.equal(found[1], torch.full((5,), -math.inf))


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_similarity_that_is_not_a_number_stays_so(place: int) -> None:
    queries, text = random(1, 6, 20), random(1, 4, 20, seed=1)
    bad_queries, bad_text = queries.clone(), text.clone()
    bad_queries[0, 2, 7] = bad_text[0, place, 3] = math.nan
    assert token_similarity(bad_queries, text, padding_of(4)).isnan()[0].tolist() == [
        query == 2 for query in range(6)
    ]
    assert token_similarity(queries, bad_text, padding_of(4)).isnan().all()


def test_queries_text_and_padding_broadcast() -> None:
    queries, text = random(3, 4, 20, 48), random(9, 48, seed=1)
    padding = padding_of(9, 1, 5, 7)
    found = token_similarity(queries, text, padding)
    spread = text.expand(3, 4, -1, -1), padding.expand(3, -1, -1)
    torch.testing.assert_close(found, token_similarity(queries, *spread))


@pytest.mark.parametrize("calibrated", [False, True], ids=["released", "calibrated"])
def test_scale_and_offset_are_the_weights_of_calibrated_models(calibrated: bool) -> None:
    similarity = TokenSimilarity(64, calibrated)
    inputs = random(2, 40, 64), random(2, 8, 64, seed=1), padding_of(8, 3)
    expected = token_similarity(*inputs)
    if calibrated:
        expected = expected / 8 - 6
    torch.testing.assert_close(similarity(*inputs).detach(), expected)


@pytest.mark.parametrize("learnt", ["log_scale", "offset"])
def test_scale_and_offset_get_their_gradients(learnt: str) -> None:
    similarity = TokenSimilarity(16, calibrated=True)
    similarity(random(2, 5, 16), random(2, 3, 16, seed=1), padding_of(3, 1)).sum().backward()
    gradient = getattr(similarity, learnt).grad
    assert gradient is not None and bool(gradient)
