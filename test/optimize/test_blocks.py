# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Optimized float32 blocks of the CPU against the network's own in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from kernel_exactness import assert_as_exact, random_numbers
from torch import Tensor, nn

from referdino_core.network.attention import DecoderLayer, MultiHeadAttention
from referdino_core.network.fusion_encoder import ImageLayer, TextLayer
from referdino_core.network.image_geometry import ImageGeometry
from referdino_core.network.layers import FeedForward, MultilayerPerceptron, ResidualNorm
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward
from referdino_core.network.swin_transformer import SwinStage
from referdino_core.network.temporal_decoder import TemporalLayer
from referdino_core.ops.convolution import (
    KernelConvolution,
    KernelPointwiseConvolution,
    fast_convolution,
)
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import FeedForwardBlock, KernelLinear, PlainLinear, fast_linear
from referdino_core.optimize.swin_stage import KernelSwinStage
from referdino_core.optimize.transformer_layers import (
    KernelDecoderLayer,
    KernelImageLayer,
    KernelTemporalLayer,
    KernelTextLayer,
    cross_attention_block,
    fast_perceptron,
    feed_forward_block,
    self_attention_block,
)

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")

SHAPES = ((6, 9), (3, 5))
CELLS = sum(height * width for height, width in SHAPES)


def randomised(block: Any) -> Any:
    """Weights that leave activations at their scale; biases and gains of about one."""
    for number, weight in enumerate(block.parameters()):
        inputs = weight[0].numel() if weight.dim() > 1 else 1
        weight.copy_(random_numbers(*weight.shape, seed=number) * inputs**-0.5)
    return block


def doubled(value: Any) -> Any:
    """Float64 for float32, also within tuples."""
    if isinstance(value, tuple):
        return tuple(doubled(part) for part in value)
    is_number = isinstance(value, Tensor) and value.dtype == torch.float32
    return value.double() if is_number else value


def assert_is(
    optimized: Callable[..., Any], block: nn.Module, *inputs: Any, times: float = 3.0
) -> None:
    """The optimized block is as exact as the network's; its inputs stay as they are."""
    before = copy.deepcopy(inputs)
    found, plain = optimized(*inputs), block(*inputs)
    exact = copy.deepcopy(block).double()(*doubled(inputs))
    if isinstance(found, Tensor):
        found, plain, exact = (found,), (plain,), (exact,)
    for parts in zip(found, plain, exact, strict=True):
        assert_as_exact(*parts, times=times)
    for one, other in zip(inputs, before, strict=True):
        assert not isinstance(one, Tensor) or torch.equal(one, other)


# ---- Linear layers and norms ----


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_linear_layer_is_the_plain_one(bias: bool) -> None:
    layer = randomised(nn.Linear(70, 45, bias=bias))
    optimized = fast_linear(layer)
    assert isinstance(optimized, KernelLinear)
    assert_is(optimized, layer, random_numbers(3, 30, 70))


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("precision", [torch.float16, torch.float64])
def test_a_layer_that_the_kernel_has_no_precision_for_stays_plain(
    precision: torch.dtype, activation: Any
) -> None:
    layer = randomised(nn.Linear(24, 16)).to(precision)
    optimized = fast_linear(layer, activation)
    assert isinstance(optimized, PlainLinear)
    function = {"none": nn.Identity(), "relu": nn.ReLU(), "gelu": nn.GELU()}[activation]
    features, added = random_numbers(5, 24).to(precision), random_numbers(5, 16).to(precision)
    assert torch.equal(optimized(features), function(layer(features)))
    assert torch.equal(optimized(features, added), added + function(layer(features)))


def test_a_perceptron_is_the_plain_one() -> None:
    perceptron = randomised(MultilayerPerceptron((40, 40, 24, 4)))
    assert_is(fast_perceptron(perceptron), perceptron, random_numbers(2, 33, 40))


# ---- Attention and feed-forward networks ----


class PlainAttention(nn.Module):
    """norm(tokens + attention), with the weights, in the network's own blocks."""

    def __init__(self, attention: MultiHeadAttention, norm: ResidualNorm) -> None:
        super().__init__()
        self.attention, self.norm = attention, norm

    def forward(
        self, tokens: Tensor, positions: Tensor, context: Tensor | None, attn_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        located = tokens + positions
        key, value = (located, tokens) if context is None else (context, context)
        if attn_mask is not None:
            attn_mask = attn_mask[:, None]
        attended, weights = self.attention.with_weights(located, key, value, attn_mask)
        return self.norm(tokens, attended), weights


def attn_mask_of(*shape: int) -> Tensor:
    attn_mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.6
    attn_mask[..., 0] = True
    return attn_mask


@pytest.mark.parametrize("mask", ["no mask", "shared", "per query"])
@pytest.mark.parametrize("own", [True, False], ids=["to each other", "to a context"])
@pytest.mark.parametrize(
    ("channels", "heads"), [(8, 3), (12, 2), (16, 1), (32, 4), (64, 2), (5, 2)]
)
def test_attention_of_tokens_is_the_network_s(
    kernel: KernelLibrary, channels: int, heads: int, own: bool, mask: str
) -> None:
    width = channels * heads
    attention, norm = randomised(MultiHeadAttention(width, heads)), randomised(ResidualNorm(width))
    tokens, positions = random_numbers(3, 19, width), random_numbers(3, 19, width, seed=1)
    context = None if own else random_numbers(3, 11, width, seed=2)
    rows = {"no mask": 0, "shared": 1, "per query": 19}[mask]
    attn_mask = attn_mask_of(3, rows, 19 if own else 11) if rows else None
    make = self_attention_block if own else cross_attention_block
    block = make(attention, norm, kernel)
    plain = PlainAttention(attention, norm)
    inputs = (tokens, positions, context, attn_mask)
    assert_is(block.with_weights, plain, *inputs)
    found, _ = block.with_weights(*inputs)
    assert torch.equal(block(*inputs), found)
    still = torch.zeros_like(positions)
    assert torch.equal(
        block(tokens, None, context, attn_mask), block(tokens, still, context, attn_mask)
    )
    torch.set_num_threads(1)
    assert torch.equal(block(*inputs), found)


@pytest.mark.parametrize("keys", [1, 6, 7, 8, 30])
@pytest.mark.parametrize("queries", [1, 7, 8, 9])
def test_attention_of_any_number_of_queries_and_keys_is_the_network_s(
    kernel: KernelLibrary, queries: int, keys: int
) -> None:
    attention, norm = randomised(MultiHeadAttention(48, 3)), randomised(ResidualNorm(48))
    tokens, context = random_numbers(2, queries, 48), random_numbers(2, keys, 48, seed=2)
    block = cross_attention_block(attention, norm, kernel)
    positions = random_numbers(1, queries, 48, seed=1).expand(2, -1, -1)
    plain = PlainAttention(attention, norm)
    assert_is(block.with_weights, plain, tokens, positions, context, None)
    mask = attn_mask_of(2, queries, keys)
    assert_is(block.with_weights, plain, tokens, positions, context, mask)
    apart = mask.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(
        block(tokens, positions, context, apart), block(tokens, positions, context, mask)
    )


def test_nine_hundred_queries_attend_to_each_other(kernel: KernelLibrary) -> None:
    if not kernel.has_fast_matmul:
        pytest.skip("without fused multiply-adds the network leaves attention to PyTorch")
    attention, norm = randomised(MultiHeadAttention(64, 2)), randomised(ResidualNorm(64))
    block = self_attention_block(attention, norm, kernel)
    inputs = random_numbers(1, 900, 64), random_numbers(1, 900, 64, seed=1), None, None
    # The worst of 60,000 sums: how it compares with the worst of PyTorch's is luck.
    assert_is(block.with_weights, PlainAttention(attention, norm), *inputs, times=6.0)


def test_a_query_that_sees_nothing_is_no_number_and_disturbs_no_other(
    kernel: KernelLibrary,
) -> None:
    attention, norm = randomised(MultiHeadAttention(32, 2)), randomised(ResidualNorm(32))
    block = cross_attention_block(attention, norm, kernel)
    tokens, context = random_numbers(1, 9, 32), random_numbers(1, 5, 32, seed=2)
    mask = attn_mask_of(1, 9, 5)
    before = block(tokens, None, context, mask)
    mask[0, 4] = False
    found = block(tokens, None, context, mask)
    others = torch.arange(9) != 4
    assert found[0, 4].isnan().all() and torch.equal(found[0, others], before[0, others])


@pytest.mark.parametrize("scale", [1e3, 1e15])
def test_attention_with_extreme_logits_picks_one_key(kernel: KernelLibrary, scale: float) -> None:
    attention, norm = randomised(MultiHeadAttention(64, 2)), randomised(ResidualNorm(64))
    attention.in_proj_weight[:64] *= scale
    tokens, context = random_numbers(2, 13, 64), random_numbers(2, 40, 64, seed=2)
    block = cross_attention_block(attention, norm, kernel)
    _, weights = block.with_weights(tokens, torch.zeros_like(tokens), context)
    _, plain = attention.with_weights(tokens, context, context)
    assert plain.amax(-1).median() == 1.0 and weights.isfinite().all()
    agreed = weights.argmax(-1) == plain.argmax(-1)
    assert agreed.double().mean() > 0.995


class PlainFeedForward(nn.Module):
    """A feed-forward network, the residual around it, and a norm before or after."""

    def __init__(self, network: nn.Module, before: nn.Module | None, after: nn.Module | None):
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, tokens: Tensor) -> Tensor:
        update = self.network(tokens if self.before is None else self.before(tokens))
        return tokens + update if self.after is None else self.after(tokens, update)


@pytest.mark.parametrize("rows", [1, 9, 300, 5000])
def test_feed_forward_networks_are_the_network_s(kernel: KernelLibrary, rows: int) -> None:
    tokens = random_numbers(1, rows, 40)
    network, after = randomised(FeedForward(40, 300)), randomised(ResidualNorm(40))
    block = feed_forward_block(network, after, kernel)
    assert_is(block, PlainFeedForward(network, None, after), tokens)
    swin, before = randomised(SwinFeedForward(40)), randomised(nn.LayerNorm(40))
    swin_block = FeedForwardBlock(swin.fc1, swin.fc2, "gelu", kernel, before=before)
    assert_is(swin_block, PlainFeedForward(swin, before, None), tokens)
    together = block(tokens), swin_block(tokens)
    torch.set_num_threads(1)
    assert torch.equal(block(tokens), together[0]) and torch.equal(swin_block(tokens), together[1])
    for row in (0, rows - 1):
        alone = tokens[:, row : row + 1]
        assert torch.equal(block(alone), together[0][:, row : row + 1])


# ---- Transformer layers ----


def test_a_text_layer_is_the_network_s(kernel: KernelLibrary) -> None:
    layer = randomised(TextLayer(48, 4, 100))
    text, positions = random_numbers(3, 9, 48), random_numbers(3, 9, 48, seed=1)
    attn_mask = attn_mask_of(3, 9, 9)
    assert_is(KernelTextLayer(layer, kernel), layer, text, positions, attn_mask)


@pytest.mark.parametrize("images", [1, 3])
def test_an_image_layer_is_the_network_s(kernel: KernelLibrary, images: int) -> None:
    layer = randomised(ImageLayer(48, 3, len(SHAPES), 4, 100))
    tokens = random_numbers(images, CELLS, 48)
    fields = dict.fromkeys(ImageGeometry.__dataclass_fields__)
    fields |= {
        "spatial_shapes": SHAPES,
        "positions": random_numbers(1, CELLS, 48, seed=1),
        "centres": torch.rand(1, CELLS, len(SHAPES), 2, generator=torch.Generator()),
    }
    geometry = ImageGeometry(**fields)
    exact_geometry = ImageGeometry(**{name: doubled(part) for name, part in fields.items()})
    found = KernelImageLayer(layer, kernel)(tokens, geometry)
    plain = layer(tokens, everywhere(geometry, images))
    exact = copy.deepcopy(layer).double()(tokens.double(), everywhere(exact_geometry, images))
    assert_as_exact(found, plain, exact)


def everywhere(geometry: ImageGeometry, images: int) -> ImageGeometry:
    """With references for every image, which the network's own layer asks for."""
    centres = geometry.centres.expand(images, -1, -1, -1)
    return ImageGeometry(**{**vars(geometry), "centres": centres})


@pytest.mark.parametrize("queries", [1, 20])
def test_a_decoder_layer_is_the_network_s(kernel: KernelLibrary, queries: int) -> None:
    layer = randomised(DecoderLayer(48, 3, len(SHAPES), 4, 100))
    references = torch.rand(3, queries, len(SHAPES), 4, generator=torch.Generator())
    padding = torch.arange(7) >= torch.tensor([[7], [3], [1]])
    inputs = (
        random_numbers(3, queries, 48),
        random_numbers(3, queries, 48, seed=1),
        references,
        random_numbers(3, 7, 48, seed=2),
        padding,
        random_numbers(3, CELLS, 48, seed=3),
        None,
        SHAPES,
    )
    assert_is(KernelDecoderLayer(layer, kernel), layer, *inputs)


@pytest.mark.parametrize("sentences", [2, 10], ids=["a sentence's", "a slot's own"])
@pytest.mark.parametrize("frames", [1, 5])
def test_a_temporal_layer_is_the_network_s(
    kernel: KernelLibrary, frames: int, sentences: int
) -> None:
    layer = randomised(TemporalLayer(48, 4, 100))
    history, sentence = random_numbers(10, frames, 48), random_numbers(sentences, frames, 48)
    assert_is(KernelTemporalLayer(layer, kernel), layer, history, sentence)


# ---- Maps ----


@pytest.mark.parametrize("heads", [3, 4], ids=["16 channels", "12 channels"])
@pytest.mark.parametrize(("height", "width"), [(14, 21), (9, 16), (3, 4)])
def test_a_swin_stage_is_the_network_s(
    kernel: KernelLibrary, height: int, width: int, heads: int
) -> None:
    stage = randomised(SwinStage(48, depth=2, heads=heads, window=7, merge=False))
    optimized = KernelSwinStage(stage, height, width, kernel)
    assert_is(optimized, stage, random_numbers(2, height, width, 48))


@pytest.mark.parametrize(
    ("convolution", "kind"),
    [
        (nn.Conv2d(12, 20, 1), KernelPointwiseConvolution),
        (nn.Conv2d(12, 20, 1, bias=False), KernelPointwiseConvolution),
        (nn.Conv2d(12, 20, 3, padding=1), KernelConvolution),
        (nn.Conv2d(12, 20, 3, padding=1, stride=2), KernelConvolution),
        (nn.Conv2d(12, 20, 3), nn.Conv2d),
        (nn.Conv2d(12, 20, 5, padding=2), nn.Conv2d),
        (nn.Conv2d(12, 20, 1, padding=1), nn.Conv2d),
        (nn.Conv2d(12, 20, 1, stride=2), nn.Conv2d),
        (nn.Conv2d(12, 20, 1, groups=4), nn.Conv2d),
        (nn.Conv2d(12, 20, 3, padding=1, groups=4), nn.Conv2d),
        (nn.Conv2d(12, 20, 3, padding=1, dilation=2), nn.Conv2d),
        (nn.Conv2d(12, 20, 3, padding=1, stride=(1, 2)), nn.Conv2d),
        (nn.Conv2d(12, 20, 3, padding=1, padding_mode="circular"), nn.Conv2d),
        (nn.Conv2d(12, 20, 3, padding=1, bias=False), nn.Conv2d),
    ],
    ids=str,
)
def test_a_convolution_goes_through_the_kernel_that_there_is_for_it_or_is_kept(
    convolution: nn.Conv2d, kind: type[nn.Module]
) -> None:
    optimized = fast_convolution(randomised(convolution))
    assert isinstance(optimized, kind)
    for layout in (torch.contiguous_format, torch.channels_last):
        features = random_numbers(2, 12, 8, 9).contiguous(memory_format=layout)
        assert_is(optimized, convolution, features)
