# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sentences with characters that cannot be seen, through both tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from referdino_core.errors import CommandError
from referdino_core.network.tokenizer import (
    SPECIAL_WORDS,
    Tokenizer,
    WordPieceTokenizer,
    WordTokenizer,
)
from referdino_core.sentences import plain

WORDS = (*SPECIAL_WORDS, "the", "red", "ball", "ba", "##ll")
SENTENCE = "the red ball"

INVISIBLE = {
    "soft hyphen": "the red ba\u00adll",
    "zero-width space": "the\u200b r\u200bed ball\u200b",
    "zero-width joiner and non-joiner": "the red\u200d ba\u200cll",
    "word joiner": "\u2060the red\u2060 ball",
    "byte order mark": "\ufeffthe red ball",
    "marks of direction": "\u202b\u200fthe red ball\u200e\u202c\u2066\u2069\u061c",
    "variation selectors": "the\ufe0f red ball\ufe0e\U000e0100",
    "grapheme joiner": "the re\u034fd ball",
    "tags": "the red ball\U000e0067\U000e007f",
    "spaces of other kinds": "\u00a0the\u2003red\u3000\tball\u2028",
}


@pytest.fixture(params=["words", "pieces"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    (tmp_path / "vocabulary.txt").write_text("\n".join(WORDS) + "\n")
    if request.param == "words":
        return WordTokenizer(WORDS)
    return WordPieceTokenizer(tmp_path / "vocabulary.txt")


@pytest.mark.parametrize("kind", INVISIBLE)
def test_a_sentence_means_what_it_looks_like(kind: str, tokenizer: Tokenizer) -> None:
    expected = [WORDS.index(word) for word in ("[CLS]", "the", "red", "ball", ".", "[SEP]")]
    assert tokenizer.encode(SENTENCE).tolist() == expected
    assert tokenizer.encode(INVISIBLE[kind]).tolist() == expected
    assert tokenizer.unknown_words(INVISIBLE[kind]) == ()


@pytest.mark.parametrize("sentence", ["the\x00 ball", "the \x1b[0m ball", "a \ue000", "a \udce9"])
def test_control_characters_are_refused(sentence: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(CommandError, match="control characters"):
        tokenizer.encode(sentence)


@pytest.mark.parametrize("sentence", ["\u200b", "\u00ad \ufeff", "\ufe0f"])
def test_what_cannot_be_seen_alone_is_no_sentence(sentence: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(CommandError, match="is empty"):
        tokenizer.encode(sentence)


def test_scripts_that_join_their_letters_keep_them() -> None:
    assert plain("می\u200cخواهم") == "میخواهم"
    assert plain("Die  GRÜNE Kugel") == "die grüne kugel"
