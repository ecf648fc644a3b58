# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The text encoder: sub-sentences apart from each other, sentences apart from the padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from referdino_core.configuration import NANO, SWIN_B
from referdino_core.network.bert import Bert
from referdino_core.network.text_encoder import TextEncoder

BEGIN, END, FULL_STOP = NANO.bert.sentence_ends[:3]
TOLERANCE = 2e-6


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    """With fresh weights that are large enough for attention to differ from token to token."""
    torch.manual_seed(5)
    encoder = TextEncoder(NANO).eval()
    with torch.no_grad():
        for parameter in encoder.bert.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return encoder


def sentence(*parts: list[int]) -> Tensor:
    """Sub-sentences of words, each with its full stop."""
    words = [word for part in parts for word in [*part, FULL_STOP]]
    return torch.tensor([BEGIN, *words, END])


@torch.no_grad()
def test_a_sentence_in_a_padded_batch_is_encoded_as_on_its_own(encoder: TextEncoder) -> None:
    sentences = [sentence([10, 11]), sentence([12], [13, 14, 15, 16], [17]), sentence([18] * 40)]
    together = encoder(sentences)
    assert together.tokens.shape == (3, 43, NANO.width)
    for row, alone in enumerate(map(encoder, ([one] for one in sentences))):
        count = len(sentences[row])
        assert together.padding[row].tolist() == [False] * count + [True] * (43 - count)
        torch.testing.assert_close(
            together.tokens[row, :count], alone.tokens[0], atol=TOLERANCE, rtol=0
        )


@torch.no_grad()
def test_a_sub_sentence_is_encoded_as_if_the_others_were_not_there(encoder: TextEncoder) -> None:
    alone = encoder([sentence([10, 11, 12])]).tokens[0, 1:5]
    first = encoder([sentence([10, 11, 12], [13, 14])]).tokens[0, 1:5]
    last = encoder([sentence([13, 14], [10, 11, 12])]).tokens[0, 4:8]
    other = encoder([sentence([10, 11, 15])]).tokens[0, 1:5]
    torch.testing.assert_close(first, alone, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(last, alone, atol=TOLERANCE, rtol=0)
    assert (other - alone).abs().amax(-1).min() > 1e-2  # every token sees the word that differs


def test_the_text_backbone_has_the_tensors_of_the_released_one() -> None:
    with torch.device("meta"):
        bert = Bert(SWIN_B.bert)
    shapes = {name: tuple(tensor.shape) for name, tensor in bert.state_dict().items()}
    assert len(shapes) == 5 + 12 * 16
    assert shapes["embeddings.word_embeddings.weight"] == (30522, 768)
    assert shapes["embeddings.position_embeddings.weight"] == (512, 768)
    assert shapes["embeddings.token_type_embeddings.weight"] == (2, 768)
    assert shapes["encoder.layer.11.attention.self.query.weight"] == (768, 768)
    assert shapes["encoder.layer.11.attention.output.LayerNorm.bias"] == (768,)
    assert shapes["encoder.layer.11.intermediate.dense.weight"] == (3072, 768)
    assert shapes["encoder.layer.11.output.dense.weight"] == (768, 3072)
    assert sum(tensor.numel() for tensor in bert.parameters()) == 108_891_648
