# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Words that are added to the vocabulary of a model with whole words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import referdino_core as rd
from referdino_core.building import WORD_EMBEDDING, add_words, load_model, tokenizer_of
from referdino_core.checkpoint import added_words_of, save_weights
from referdino_core.errors import CheckpointError, ReferDINOError

MANY = tuple(f"word{number}" for number in range(40))


@pytest.fixture(scope="module")
def nano() -> rd.ReferDINO:
    return load_model("nano", "cpu")


def test_known_words_keep_their_numbers_rows_and_meaning(nano: rd.ReferDINO) -> None:
    grown = add_words(nano, MANY)
    before, after = nano.state_dict()[WORD_EMBEDDING], grown.state_dict()[WORD_EMBEDDING]
    old, new = tokenizer_of(nano.configuration), tokenizer_of(grown.configuration)
    sentence = "the red ball left of the small box"
    assert torch.equal(old.encode(sentence), new.encode(sentence))
    known = len(old.ids)  # type: ignore[attr-defined]
    assert torch.equal(after[:known], before[:known])
    assert len(after) == known + len(MANY) > len(before)
    pixels = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    ids = new.encode(sentence)
    found, expected = (vars(model.segment(pixels, ids)) for model in (grown, nano))
    torch.testing.assert_close(found, expected)


def test_new_words_are_known_and_told_apart_from_unknown_ones(nano: rd.ReferDINO) -> None:
    grown = add_words(nano, ["pink", "red", "pink"])
    assert grown.configuration.added_words == ("pink",)
    tokenizer = tokenizer_of(grown.configuration)
    assert tokenizer.unknown_words("the pink ball and the mug") == ("and", "mug")
    assert add_words(grown, ["pink", "red"]) is grown
    further = add_words(grown, ["brown"])
    assert further.configuration.added_words == ("pink", "brown")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_saved_weights_load_with_their_words(
    nano: rd.ReferDINO, tmp_path: Path, suffix: str
) -> None:
    grown, path = add_words(nano, MANY), tmp_path / f"grown.{suffix}"
    if suffix == "pth":
        from referdino_core.training.video_training import save_run_weights

        save_run_weights(grown, tmp_path, "grown")
    else:
        save_weights(grown, path)
    loaded = load_model(path, "cpu")
    assert loaded.configuration == grown.configuration
    session = rd.Session(path, device="cpu")
    assert session.tokenizer.unknown_words("the word7 word39 ball") == ()


def test_what_is_no_word_and_models_that_read_parts_of_words_are_refused(
    nano: rd.ReferDINO,
) -> None:
    for text in ("light blue", "Pink", "", "pink."):
        with pytest.raises(ReferDINOError):
            add_words(nano, [text])
    with torch.device("meta"):
        swint = rd.build("swint")
    with pytest.raises(ReferDINOError, match="parts of words"):
        add_words(swint, ["pink"])
    with pytest.raises(ReferDINOError, match="parts of words"):
        rd.build("swint", added_words=("pink",))


@pytest.mark.parametrize(
    "name", ["missing.pth", "text.pth", "missing.safetensors", "cut.safetensors"]
)
def test_words_of_a_damaged_checkpoint_are_one_clear_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if not name.startswith("missing"):
        path.write_text("hello")
    with pytest.raises(CheckpointError, match=r"no checkpoint at|is not a readable"):
        added_words_of(path)
