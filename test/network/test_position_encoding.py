# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sine embeddings against their formula in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from referdino_core.network.position_encoding import BoxEmbedding, SineEmbedding


def expected_embedding(angles: Tensor, features: int, temperature: float) -> Tensor:
    """Features 2 i, 2 i + 1: sine, cosine of the angle over temperature ** (2 i / features)."""
    exponents = torch.arange(features // 2, dtype=torch.float64) * 2 / features
    quotients = angles.double()[..., None] / temperature**exponents
    return torch.stack((quotients.sin(), quotients.cos()), dim=-1).flatten(-2)


@pytest.mark.parametrize(("features", "temperature"), [(32, 20.0), (48, 100.0), (128, 10000.0)])
def test_sines_stand_on_even_and_cosines_on_odd_features(features: int, temperature: float) -> None:
    embedding = SineEmbedding(features, temperature)
    angles = torch.randn(2, 30, generator=torch.Generator().manual_seed(0)) * 6
    for wanted in (angles, torch.arange(40), angles.double()):
        found = embedding(wanted)
        assert found.dtype == torch.float32
        expected = expected_embedding(wanted.float(), features, temperature)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_boxes_are_embedded_in_the_order_y_x_w_h() -> None:
    boxes = torch.rand(2, 30, 4, generator=torch.Generator().manual_seed(0))
    boxes[0, :3] = torch.tensor([[0.0], [1.0], [1e-4]])
    turns = (boxes * (2 * math.pi))[..., [1, 0, 2, 3]]
    expected = expected_embedding(turns, 8, 10000.0).flatten(-2)
    torch.testing.assert_close(BoxEmbedding(16)(boxes).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_the_sine_of_what_is_no_angle_is_not_a_number(bad: float) -> None:
    found = SineEmbedding(16, 100.0)(torch.tensor([1.0, bad, 2.0]))
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()
