# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""RoBERTa's tokenizer on a small vocabulary of its format."""

from __future__ import annotations

from pathlib import Path

import pytest
from soc_samples import write_vocabulary

from referdino_core.errors import CheckpointError, CommandError
from referdino_core.peers.soc.tokenizer import RobertaTokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> RobertaTokenizer:
    return RobertaTokenizer(*write_vocabulary(tmp_path_factory.mktemp("bpe") / "roberta"), 30)


def test_sentences_stand_between_start_and_end(tokenizer: RobertaTokenizer) -> None:
    ids = tokenizer.encode("the red ball").tolist()
    assert ids[0] == 0 and ids[-1] == 2
    assert tokenizer.tokenizer.decode(ids[1:-1]) == "the red ball"


def test_case_and_spaces_are_read_as_written(tokenizer: RobertaTokenizer) -> None:
    cased, lower = tokenizer.encode("The ball").tolist(), tokenizer.encode("the ball").tolist()
    assert cased != lower
    spaced = tokenizer.encode(" the ball").tolist()
    assert spaced != lower and tokenizer.tokenizer.decode(spaced[1:-1]) == " the ball"


def test_every_byte_has_a_token(tokenizer: RobertaTokenizer) -> None:
    ids = tokenizer.encode("die große Kugel 🔴").tolist()
    assert tokenizer.tokenizer.token_to_id("<unk>") not in ids
    assert tokenizer.tokenizer.decode(ids[1:-1]) == "die große Kugel 🔴"
    assert tokenizer.unknown_words("die große Kugel") == ()


def test_sentences_that_cannot_be_used_are_refused(tokenizer: RobertaTokenizer) -> None:
    with pytest.raises(CommandError, match="empty"):
        tokenizer.encode("  ")
    with pytest.raises(CommandError, match="at most 30"):
        tokenizer.encode("zyx " * 20)


def test_a_damaged_vocabulary_is_one_line(tmp_path: Path) -> None:
    vocabulary, merges = write_vocabulary(tmp_path / "roberta")
    whole = vocabulary.read_text()
    for damaged in (whole[:100], "{}", whole.replace('"</s>"', '"end"')):
        vocabulary.write_text(damaged)
        with pytest.raises(CheckpointError, match="referdino download roberta") as refused:
            RobertaTokenizer(vocabulary, merges)
        assert "\n" not in str(refused.value)
