# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernel of fusion attention against the plain network in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from kernel_exactness import assert_as_exact, random_numbers
from torch import Tensor

from referdino_core.network.fusion_encoder import FusionLayer
from referdino_core.ops.fusion_attention import fusion_attention
from referdino_core.ops.library import KernelLibrary
from referdino_core.optimize.folded_fusion import KernelFusionLayer

pytestmark = pytest.mark.usefixtures("without_gradients", "two_threads")


# ---- Fusion ----


def fusion_layer(width: int, heads: int, inner: int = 16) -> FusionLayer:
    """Weights and gains at the scale of what they are applied to."""
    layer = FusionLayer(width, heads * inner, heads, gain=1.0)
    for number, weight in enumerate(layer.parameters()):
        scale = weight.shape[1] ** -0.5 if weight.dim() == 2 else 1.0
        weight.copy_(random_numbers(*weight.shape, seed=number) * scale)
    return layer


def assert_fuses(
    kernel: KernelLibrary, layer: FusionLayer, image: Tensor, text: Tensor, padding: Tensor
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
def test_fusion_of_any_number_of_image_and_text_tokens(
    kernel: KernelLibrary, tokens: int, cells: int
) -> None:
    image, text = random_numbers(1, cells, 48), random_numbers(1, tokens, 48, seed=1)
    assert_fuses(kernel, fusion_layer(48, 4), image, text, padding_of([tokens]))


@pytest.mark.parametrize("width", [24, 40, 64, 128])
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_fusion_of_any_width_and_heads(kernel: KernelLibrary, heads: int, width: int) -> None:
    image, text = random_numbers(2, 77, width), random_numbers(2, 6, width, seed=1)
    assert_fuses(kernel, fusion_layer(width, heads), image, text, padding_of([6, 6]))


@pytest.mark.parametrize("images", [1, 3], ids=["one image", "an image each"])
@pytest.mark.parametrize("lengths", [[9, 5, 1], [4, 4, 12]])
def test_fusion_of_several_sentences_with_padding(
    kernel: KernelLibrary, lengths: list[int], images: int
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


def test_what_padding_holds_does_not_reach_the_image(kernel: KernelLibrary) -> None:
    image, folded, padding, bias = fusion_inputs(2, 50, 7)
    fused, seen = fusion_attention(kernel, image, folded, padding, bias, 4)
    other = torch.where(padding[..., None], 1e3, folded)
    again, seen_again = fusion_attention(kernel, image, other, padding, bias, 4)
    assert torch.equal(again, fused)
    assert torch.equal(seen_again[~padding], seen[~padding])


def test_fusion_with_extreme_logits_is_finite_and_picks_one_token(kernel: KernelLibrary) -> None:
    image, folded, padding, bias = fusion_inputs(2, 50, 7)
    fused, seen = fusion_attention(kernel, image * 1e4, folded, padding, bias, 4)
    assert fused.isfinite().all() and seen.isfinite().all()
    keys = folded[..., : 4 * 48].unflatten(-1, (4, 48)).double()
    logits = torch.einsum("sd,nlhd->nhls", image[0].double() * 1e4, keys)
    picked = image[0][logits.argmax(-1)].transpose(1, 2).flatten(2) * 1e4
    torch.testing.assert_close(seen, picked)


def test_fusion_is_the_same_for_a_sentence_alone_and_for_any_number_of_threads(
    kernel: KernelLibrary,
) -> None:
    image, folded, padding, bias = fusion_inputs(3, 500, 11)
    together = fusion_attention(kernel, image, folded, padding, bias, 4)
    for sentence in range(3):
        one = slice(sentence, sentence + 1)
        alone = fusion_attention(kernel, image, folded[one], padding[one], bias, 4)
        assert all(torch.equal(a, b[one]) for a, b in zip(alone, together, strict=True))
    torch.set_num_threads(1)
    apart = image.transpose(1, 2).contiguous().transpose(1, 2)
    again = fusion_attention(kernel, apart, folded, padding, bias, 4)
    assert all(torch.equal(a, b) for a, b in zip(again, together, strict=True))
