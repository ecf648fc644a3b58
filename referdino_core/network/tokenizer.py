# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers: BERT's WordPiece, and whole words for small vocabularies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from referdino_core.errors import CommandError
from referdino_core.sentences import plain

MAX_TOKENS = 256
MAX_CHARACTERS = 10_000
SPECIAL_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?")


def caption(sentence: str) -> str:
    """The sentence in lower case, with single spaces, ending in a full stop.

    Invisible characters are removed; see `plain`.

    Raises:
        CommandError: the sentence is not a string, empty, or longer than 10,000 characters.
    """
    if not isinstance(sentence, str):
        raise CommandError(f"A command is text, not {type(sentence).__name__}.")
    if len(sentence) > MAX_CHARACTERS:
        raise CommandError(
            f"The command has {len(sentence):,} characters; at most {MAX_CHARACTERS:,} are read."
        )
    words = plain(sentence)
    if not words.isprintable():
        raise CommandError("The command contains control characters; send plain text.")
    if not any(character.isalnum() for character in words):
        raise CommandError("The command is empty; name an object, such as 'the red mug'.")
    return words if words.endswith(".") else f"{words}."


class Tokenizer(Protocol):
    """Converts sentences to token ids."""

    def encode(self, sentence: str) -> Tensor:
        """(L,) int64 ids with [CLS] and [SEP].

        Raises:
            CommandError: the sentence is not a string, empty, or has more than 256 tokens.
        """
        ...

    def unknown_words(self, sentence: str) -> tuple[str, ...]:
        """Words of the sentence that the vocabulary lacks."""
        ...


class WordTokenizer:
    """Tokenizer with one token per word; words that the vocabulary lacks become [UNK]."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        if tuple(vocabulary[: len(SPECIAL_WORDS)]) != SPECIAL_WORDS:
            raise CommandError(f"A word vocabulary begins with {' '.join(SPECIAL_WORDS)}.")
        self.ids = {word: index for index, word in enumerate(vocabulary)}

    def split(self, sentence: str) -> list[str]:
        """Words and full stops of the sentence's caption."""
        return re.findall(r"[^\W_]+(?:'[^\W_]+)?|[.?]", caption(sentence))

    def encode(self, sentence: str) -> Tensor:
        """(L,) int64 ids with [CLS] and [SEP]."""
        words = ["[CLS]", *self.split(sentence), "[SEP]"]
        return bounded([self.ids.get(word, self.ids["[UNK]"]) for word in words])

    def unknown_words(self, sentence: str) -> tuple[str, ...]:
        """Words of the sentence that the vocabulary lacks."""
        return tuple(word for word in self.split(sentence) if word not in self.ids)


class WordPieceTokenizer:
    """BERT's uncased WordPiece tokenizer."""

    def __init__(self, vocabulary_file: Path) -> None:
        from tokenizers import BertWordPieceTokenizer

        self.tokenizer = BertWordPieceTokenizer(str(vocabulary_file), lowercase=True)

    def encode(self, sentence: str) -> Tensor:
        """(L,) int64 ids with [CLS] and [SEP]."""
        return bounded(self.tokenizer.encode(caption(sentence)).ids)

    def unknown_words(self, sentence: str) -> tuple[str, ...]:
        """An [UNK] for every word that WordPiece cannot represent, which is rare."""
        encoding = self.tokenizer.encode(caption(sentence))
        return tuple(token for token in encoding.tokens if token == "[UNK]")


def bounded(ids: list[int]) -> Tensor:
    """The ids as a tensor; raises CommandError for more than 256."""
    if len(ids) > MAX_TOKENS:
        raise CommandError(
            f"The command has {len(ids)} tokens; the text encoder reads at most {MAX_TOKENS}. "
            "Say it in fewer words."
        )
    return torch.tensor(ids, dtype=torch.int64)
