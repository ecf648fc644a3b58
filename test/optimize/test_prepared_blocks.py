# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Prepared blocks of layers against those that they replace."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from inference_cases import count_calls
from torch import nn

from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.fusion_encoder import BidirectionalAttention
from referdino_core.network.layers import FeedForward
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import Activation, PackedLinear, can_pack
from referdino_core.optimize.deformable_attention import KernelDeformableAttention
from referdino_core.optimize.folded_fusion import FoldedBidirectionalAttention
from referdino_core.optimize.transformer_layers import blockwise, blockwise_swin

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "without_gradients")]

BLOCK_TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
# Half a unit in the last of bfloat16's eight places, and what float32 sums may differ by.
BFLOAT16_ROUNDING = {"rtol": 2.0**-8 * 1.01, "atol": 1e-6}


def randomise(block: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in block.parameters():
        scale = weight.shape[1] ** -0.5 if weight.dim() == 2 else 1.0
        weight.copy_(torch.randn(weight.shape, generator=generator) * scale)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("heads", [1, 4])
def test_folded_attention_is_bidirectional_attention(heads: int, images: int) -> None:
    attention = BidirectionalAttention(48, 64, heads)
    randomise(attention, seed=heads)
    generator = torch.Generator().manual_seed(images)
    image = torch.randn(images, 200, 48, generator=generator)
    text = torch.randn(3, 9, 48, generator=generator)
    padding = torch.arange(9) >= torch.tensor([[9], [5], [1]])
    judge = copy.deepcopy(attention).double()
    expected = judge(image.double(), text.double(), None, padding)
    found = FoldedBidirectionalAttention(attention)(image, text, None, padding)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other.expand_as(one), **BLOCK_TOLERANCE)


@pytest.mark.parametrize("size", [2, 4], ids=["points", "boxes"])
@pytest.mark.parametrize(("queries", "samples_first"), [(1, True), (4, True), (5, False)])
def test_deformable_attention_in_either_order_is_the_network_s(
    kernel: KernelLibrary,
    monkeypatch: pytest.MonkeyPatch,
    queries: int,
    samples_first: bool,
    size: int,
) -> None:
    shapes = ((24, 30), (12, 15))  # 900 cells; a query reads 2 heads x 2 levels x 12 points x 4
    attention = DeformableAttention(48, heads=2, levels=2, points=12)
    randomise(attention, seed=0)
    generator = torch.Generator().manual_seed(queries)
    query = torch.randn(3, queries, 48, generator=generator)
    references = torch.rand(3, queries, 2, size, generator=generator) * 1.4 - 0.2
    value = torch.randn(3, 900, 48, generator=generator)
    calls = count_calls(monkeypatch, KernelDeformableAttention, "sample_first")
    optimized = KernelDeformableAttention(attention, kernel)
    found = optimized(query, references, value, shapes)
    assert bool(calls) == samples_first
    judge = copy.deepcopy(attention).double()
    expected = judge(query.double(), references.double(), value.double(), shapes)
    torch.testing.assert_close(found.double(), expected, **BLOCK_TOLERANCE)
    one_for_all = optimized(query, references[:1], value, shapes)
    same = optimized(query, references[:1].expand(3, -1, -1, -1), value, shapes)
    assert torch.equal(one_for_all, same)


@pytest.mark.skipif(not can_pack(), reason="this PyTorch has no packed linear layers")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(
    ("activation", "function"),
    [("none", lambda x: x), ("relu", F.relu), ("gelu", F.gelu)],
    ids=["none", "relu", "gelu"],
)
def test_a_packed_layer_differs_by_the_rounding_of_the_result(
    activation: Activation, function: Any, bias: bool
) -> None:
    layer = nn.Linear(96, 40, bias=bias)
    randomise(layer, seed=1)
    packed = PackedLinear(layer, activation)
    for shape in ((7, 96), (2, 33, 96), (1, 1, 1, 96)):
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).bfloat16()
        low = copy.deepcopy(layer).bfloat16().double()
        expected = function(low(inputs.double())).float()
        found = packed(inputs)
        assert found.dtype == torch.bfloat16 and found.shape == expected.shape
        # GELU's own formula is good to some 1e-6 of what comes in.
        torch.testing.assert_close(
            found.float(), expected, rtol=BFLOAT16_ROUNDING["rtol"], atol=1e-5
        )


FEED_FORWARD = pytest.mark.parametrize(
    ("block", "make"),
    [(FeedForward(64, 128), blockwise), (SwinFeedForward(64), blockwise_swin)],
    ids=["transformer", "swin"],
)


@FEED_FORWARD
def test_a_feed_forward_network_in_blocks_of_tokens_is_the_plain_one(
    block: nn.Module, make: Any
) -> None:
    randomise(block, seed=2)
    inputs = torch.randn(5, 50, 64, generator=torch.Generator().manual_seed(3))
    before = inputs.clone()
    expected = copy.deepcopy(block).double()(inputs.double())
    prepared = make(block)
    added = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(4))
    for tokens in (prepared.tokens_at_once, 250, 100, 7, 1):
        prepared.tokens_at_once = tokens
        torch.testing.assert_close(prepared(inputs).double(), expected, **BLOCK_TOLERANCE)
        found = prepared(inputs, added).double()
        torch.testing.assert_close(found, expected + added.double(), **BLOCK_TOLERANCE)
    assert torch.equal(inputs, before)


@FEED_FORWARD
def test_a_feed_forward_network_in_bfloat16_is_as_exact_as_the_plain_one(
    block: nn.Module, make: Any
) -> None:
    randomise(block, seed=2)
    inputs = torch.randn(5, 50, 64, generator=torch.Generator().manual_seed(3)).bfloat16()
    low = copy.deepcopy(block).bfloat16()
    exact = copy.deepcopy(low).double()(inputs.double())
    plain = (low(inputs).double() - exact).abs().mean()
    prepared = make(low)
    for tokens in (prepared.tokens_at_once, 7):
        prepared.tokens_at_once = tokens
        found = prepared(inputs)
        assert found.dtype == torch.bfloat16
        assert 0 < (found.double() - exact).abs().mean() < 1.05 * plain
