# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The time extension: a slot's boxes count, and weights from before they did load unchanged."""

from __future__ import annotations

import torch
from torch import Tensor

import referdino_core as rd
from referdino_core.checkpoint import load_checkpoint, reference_name

EMBEDDING = "readout.temporal_decoder.time_embedding"
PROJECTIONS = tuple(f"{EMBEDDING}.{name}_projection.weight" for name in ("box", "word"))
BOX_PROJECTION = PROJECTIONS[0]


def decoded(model: rd.ReferDINO, references: Tensor) -> Tensor:
    torch.manual_seed(1)
    queries, sentence = torch.randn(1, 4, 3, 128), torch.randn(1, 4, 128)
    ages = torch.tensor([[0.3, 0.2, 0.1, 0.0]])
    with torch.no_grad():
        return model.readout.temporal_decoder(queries, sentence, ages, references)


def test_weights_without_projections_of_boxes_and_words_load_as_they_were() -> None:
    torch.manual_seed(0)
    old, new = rd.build("nano"), rd.build("nano")
    tensors = {reference_name(name): tensor for name, tensor in old.state_dict().items()}
    for name in PROJECTIONS:
        torch.nn.init.normal_(new.get_parameter(name))
        del tensors[reference_name(name)]
    load_checkpoint(new, tensors)
    text, padding = torch.randn(1, 4, 5, 128), torch.zeros(1, 5, dtype=torch.bool)
    sentence = new.readout.temporal_decoder.sentence(text, padding)
    torch.testing.assert_close(sentence, text[:, :, 0])
    still = torch.full((1, 4, 3, 4), 0.5)
    moving = still.clone()
    moving[0, :, 0, 0] = torch.tensor([0.2, 0.3, 0.4, 0.5])
    torch.testing.assert_close(decoded(new, moving), decoded(old, still))


def test_where_a_slot_was_changes_that_slot_alone() -> None:
    torch.manual_seed(0)
    model = rd.build("nano")
    torch.nn.init.normal_(model.get_parameter(BOX_PROJECTION), std=0.1)
    still = torch.full((1, 4, 3, 4), 0.5)
    moving = still.clone()
    moving[0, :, 0, 0] = torch.tensor([0.2, 0.3, 0.4, 0.5])
    apart = (decoded(model, moving) - decoded(model, still)).abs().amax((0, 1, 3))
    assert apart[0] > 1e-3
    torch.testing.assert_close(apart[1:], torch.zeros(2))


def test_every_word_reaches_the_sentence_that_asks_and_padding_does_not() -> None:
    torch.manual_seed(0)
    decoder = rd.build("nano").readout.temporal_decoder
    torch.nn.init.normal_(decoder.get_parameter("time_embedding.word_projection.weight"))
    text = torch.randn(1, 2, 5, 128)
    padding = torch.tensor([[False, False, False, False, True]])
    other_word, other_padding = text.clone(), text.clone()
    other_word[:, :, 2] += 1
    other_padding[:, :, 4] += 1
    sentence = decoder.sentence(text, padding)
    assert (decoder.sentence(other_word, padding) - sentence).abs().max() > 0.1
    torch.testing.assert_close(decoder.sentence(other_padding, padding), sentence)


def test_released_architectures_have_no_time_embedding() -> None:
    names = rd.build("swint", num_queries=4).state_dict()
    assert not any("time_embedding" in name for name in names)
