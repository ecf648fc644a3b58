# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernels of multi-head attention and of fusion against the plain network in float64."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from kernel_exactness import assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.inference.fusion_attention import KernelFusionLayer
from referdino_core.kernels import FusedKernel
from referdino_core.network.fusion_encoder import FusionLayer

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")


# ---- Multi-head attention ----


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, visible: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention and its weights in PyTorch's operators; `visible` is (N, 1 or Q, K)."""
    queries, keys, values = (
        tokens.unflatten(-1, (heads, -1)).transpose(1, 2) for tokens in (queries, keys, values)
    )
    logits = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    if visible is not None:
        logits = logits.masked_fill(~visible[:, None], -torch.inf)
    weights = logits.softmax(-1)
    return (weights @ values).transpose(1, 2).flatten(-2), weights


def assert_attends(
    kernel: FusedKernel,
    projected: tuple[Tensor, Tensor, Tensor],
    heads: int,
    visible: Tensor | None = None,
) -> None:
    """The kernel with and without giving out its weights."""
    queries, keys, _ = projected
    weights = torch.full((len(queries), heads, queries.shape[1], keys.shape[1]), math.nan)
    found = kernel.attention(*projected, heads, visible, weights)
    plain = attend(*projected, heads, visible)
    queries, keys, values = (tokens.double() for tokens in projected)
    exact = attend(queries, keys, values, heads, visible)
    assert_as_exact(found, plain[0], exact[0])
    assert_as_exact(weights, plain[1], exact[1])
    assert torch.equal(kernel.attention(*projected, heads, visible), found)
    if visible is not None:
        hidden = ~visible[:, None].expand_as(weights)
        assert not weights[hidden].any()


def projections(
    images: int, queries: int, keys: int, width: int, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        random_numbers(images, queries, width, seed=queries) * scale,
        random_numbers(images, keys, width, seed=keys),
        random_numbers(images, keys, width, seed=width),
    )


def some_visible(images: int, queries: int, keys: int) -> Tensor:
    """About half of the keys, and always one."""
    generator = torch.Generator().manual_seed(keys)
    visible = torch.rand(images, queries, keys, generator=generator) < 0.5
    visible[..., keys // 2] = True
    return visible


@pytest.mark.parametrize("channels", [5, 8, 12, 16, 24, 32, 64])
@pytest.mark.parametrize("keys", [1, 6, 7, 8, 30])
def test_attention_of_any_head_size_and_number_of_keys(
    kernel: FusedKernel, keys: int, channels: int
) -> None:
    for queries in (1, 7, 8, 9):
        assert_attends(kernel, projections(2, queries, keys, 3 * channels), heads=3)


@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize("images", [1, 5])
def test_attention_of_any_number_of_heads_and_images(
    kernel: FusedKernel, images: int, heads: int
) -> None:
    assert_attends(kernel, projections(images, 19, 23, 16 * heads), heads)


@pytest.mark.parametrize("channels", [8, 32])
def test_nine_hundred_queries_attend_to_each_other(kernel: FusedKernel, channels: int) -> None:
    if not kernel.has_fast_matmul:
        pytest.skip("without fused multiply-adds the network leaves attention to PyTorch")
    assert_attends(kernel, projections(1, 900, 900, 2 * channels), heads=2)


@pytest.mark.parametrize("rows", ["shared", "per query"])
@pytest.mark.parametrize(("queries", "keys"), [(1, 5), (2, 1), (7, 9), (17, 32)])
def test_hidden_keys_are_not_attended_to(
    kernel: FusedKernel, queries: int, keys: int, rows: str
) -> None:
    visible = some_visible(3, 1 if rows == "shared" else queries, keys)
    assert_attends(kernel, projections(3, queries, keys, 48), 3, visible)


def test_a_mask_whose_entries_are_apart_is_read_as_it_is_meant(kernel: FusedKernel) -> None:
    visible = some_visible(2, 11, 13)
    projected = projections(2, 11, 13, 32)
    found = kernel.attention(*projected, 2, visible.transpose(1, 2).contiguous().transpose(1, 2))
    assert torch.equal(found, kernel.attention(*projected, 2, visible))


def test_a_query_that_sees_nothing_is_no_number_and_disturbs_no_other(kernel: FusedKernel) -> None:
    visible = some_visible(1, 9, 5)
    projected = projections(1, 9, 5, 16)
    before = kernel.attention(*projected, 2, visible)
    visible[0, 4] = False
    found = kernel.attention(*projected, 2, visible)
    assert found[0, 4].isnan().all() and attend(*projected, 2, visible)[0][0, 4].isnan().all()
    others = torch.arange(9) != 4
    assert torch.equal(found[0, others], before[0, others])


@pytest.mark.parametrize("images", [1, 3])
def test_parts_of_a_joint_projection_are_read_where_they_lie(
    kernel: FusedKernel, images: int
) -> None:
    joint = random_numbers(images, 21, 3 * 48)
    parts = joint.split(48, dim=-1)
    assert not any(part.is_contiguous() for part in parts)
    apart = tuple(part.contiguous() for part in parts)
    expected = kernel.attention(*apart, 3)
    assert torch.equal(kernel.attention(*parts, 3), expected)
    assert torch.equal(kernel.attention(parts[0], apart[1], parts[2], 3), expected)
    assert torch.equal(kernel.attention(apart[0], parts[1], apart[2], 3), expected)
    assert_attends(kernel, parts, heads=3)


def test_attention_with_extreme_logits_picks_one_key(kernel: FusedKernel) -> None:
    projected = projections(2, 13, 40, 64, scale=1000.0)
    weights = torch.empty(2, 2, 13, 40)
    found = kernel.attention(*projected, 2, weights=weights)
    plain = attend(*projected, 2)
    queries, keys, values = (tokens.double() for tokens in projected)
    exact = attend(queries, keys, values, 2)
    assert exact[1].amax(-1).median() == 1.0
    # Logits of thousands, known to seven digits: their softmax is known to fewer.
    assert_as_exact(found, plain[0], exact[0], times=5.0)
    assert_as_exact(weights, plain[1], exact[1], times=5.0)


@pytest.mark.parametrize("scale", [1e15, 1e25])
def test_logits_near_the_end_of_float32_pick_the_largest(kernel: FusedKernel, scale: float) -> None:
    projected = projections(1, 9, 12, 16, scale)
    found = kernel.attention(*projected, 1)
    torch.testing.assert_close(found, attend(*projected, 1)[0], rtol=0, atol=0)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("place", [0, 3, 12])
def test_a_bad_query_or_key_is_seen_in_what_it_takes_part_in(
    kernel: FusedKernel, place: int, bad: float
) -> None:
    queries, keys, values = projections(2, 13, 13, 32)
    before = kernel.attention(queries, keys, values, 2)
    bad_queries, bad_keys = queries.clone(), keys.clone()
    bad_queries[0, place, 5] = bad_keys[0, place, 5] = bad
    found = kernel.attention(bad_queries, keys, values, 2)
    expected, _ = attend(bad_queries, keys, values, 2)
    assert torch.equal(found.isnan(), expected.isnan()) and found.isnan().any()
    assert torch.equal(found[~found.isnan()], before[~found.isnan()])
    found = kernel.attention(queries, bad_keys, values, 2)
    expected, _ = attend(queries, bad_keys, values, 2)
    assert torch.equal(found.isnan(), expected.isnan()) and found.isnan().any()
    assert torch.equal(found[1], before[1])


def test_attention_is_the_same_alone_and_for_any_number_of_threads(kernel: FusedKernel) -> None:
    queries, keys, values = projections(4, 70, 60, 64)
    visible = some_visible(4, 70, 60)
    together = kernel.attention(queries, keys, values, 4, visible)
    for image in range(4):
        one = slice(image, image + 1)
        alone = kernel.attention(queries[one], keys[one], values[one], 4, visible[one])
        assert torch.equal(alone, together[one])
    for query in (0, 8, 69):
        row = slice(query, query + 1)
        alone = kernel.attention(queries[:1, row], keys[:1], values[:1], 4, visible[:1, row])
        assert torch.equal(alone, together[:1, row])
    torch.set_num_threads(1)
    assert torch.equal(kernel.attention(queries, keys, values, 4, visible), together)


# ---- Fusion ----


def fusion_layer(width: int, heads: int, inner: int = 16) -> FusionLayer:
    """Weights and gains at the scale of what they are applied to."""
    layer = FusionLayer(width, heads * inner, heads, gain=1.0)
    for number, weight in enumerate(layer.parameters()):
        scale = weight.shape[1] ** -0.5 if weight.dim() == 2 else 1.0
        weight.copy_(random_numbers(*weight.shape, seed=number) * scale)
    return layer


def assert_fuses(
    kernel: FusedKernel, layer: FusionLayer, image: Tensor, text: Tensor, padding: Tensor
) -> None:
    found = KernelFusionLayer(layer, kernel)(image, text, None, padding)
    plain = layer(image, text, None, padding)
    exact = copy.deepcopy(layer).double()(image.double(), text.double(), None, padding)
    for parts in zip(found, plain, exact, strict=True):
        assert_as_exact(*parts)


def padding_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("cells", [1, 7, 9, 64, 300])
@pytest.mark.parametrize("tokens", [1, 5, 8, 17])
def test_fusion_of_any_number_of_cells_and_tokens(
    kernel: FusedKernel, tokens: int, cells: int
) -> None:
    image, text = random_numbers(1, cells, 48), random_numbers(1, tokens, 48, seed=1)
    assert_fuses(kernel, fusion_layer(48, 4), image, text, padding_of([tokens]))


@pytest.mark.parametrize("width", [24, 40, 64, 128])
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_fusion_of_any_width_and_heads(kernel: FusedKernel, heads: int, width: int) -> None:
    image, text = random_numbers(2, 77, width), random_numbers(2, 6, width, seed=1)
    assert_fuses(kernel, fusion_layer(width, heads), image, text, padding_of([6, 6]))


@pytest.mark.parametrize("images", [1, 3], ids=["one image", "an image each"])
@pytest.mark.parametrize("lengths", [[9, 5, 1], [4, 4, 12]])
def test_fusion_of_several_sentences_with_padding(
    kernel: FusedKernel, lengths: list[int], images: int
) -> None:
    image, text = random_numbers(images, 130, 48), random_numbers(3, max(lengths), 48, seed=1)
    assert_fuses(kernel, fusion_layer(48, 4), image, text, padding_of(lengths))


def fusion_inputs(sentences: int, cells: int, tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Width 48 and 4 heads."""
    return (
        random_numbers(1, cells, 48),
        random_numbers(sentences, tokens, 4 * (2 * 48 + 1), seed=1) * 0.3,
        padding_of([tokens, *[3] * (sentences - 1)]),
        random_numbers(48, seed=2),
    )


def test_what_padding_holds_does_not_reach_the_image(kernel: FusedKernel) -> None:
    image, folded, padding, bias = fusion_inputs(2, 50, 7)
    fused, seen = kernel.fusion_attention(image, folded, padding, bias, 4)
    other = torch.where(padding[..., None], 1e3, folded)
    again, seen_again = kernel.fusion_attention(image, other, padding, bias, 4)
    assert torch.equal(again, fused)
    assert torch.equal(seen_again[~padding], seen[~padding])


def test_fusion_with_extreme_logits_is_finite_and_picks_one_token(kernel: FusedKernel) -> None:
    image, folded, padding, bias = fusion_inputs(2, 50, 7)
    fused, seen = kernel.fusion_attention(image * 1e4, folded, padding, bias, 4)
    assert fused.isfinite().all() and seen.isfinite().all()
    keys = folded[..., : 4 * 48].unflatten(-1, (4, 48)).double()
    logits = torch.einsum("sd,nlhd->nhls", image[0].double() * 1e4, keys)
    picked = image[0][logits.argmax(-1)].transpose(1, 2).flatten(2) * 1e4
    torch.testing.assert_close(seen, picked)


def test_fusion_is_the_same_for_a_sentence_alone_and_for_any_number_of_threads(
    kernel: FusedKernel,
) -> None:
    image, folded, padding, bias = fusion_inputs(3, 500, 11)
    together = kernel.fusion_attention(image, folded, padding, bias, 4)
    for sentence in range(3):
        one = slice(sentence, sentence + 1)
        alone = kernel.fusion_attention(image, folded[one], padding[one], bias, 4)
        assert all(torch.equal(a, b[one]) for a, b in zip(alone, together, strict=True))
    torch.set_num_threads(1)
    apart = image.transpose(1, 2).contiguous().transpose(1, 2)
    again = kernel.fusion_attention(apart, folded, padding, bias, 4)
    assert all(torch.equal(a, b) for a, b in zip(again, together, strict=True))
