# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Normalisation of sentences: case, white space and invisible characters."""

from __future__ import annotations

import unicodedata


def plain(sentence: str) -> str:
    """The sentence in lower case, with single spaces and without invisible characters.

    Invisible are Unicode's format characters (soft hyphens, zero-width spaces and joiners,
    directional marks, byte order marks) and variation selectors. BERT's own tokenizer ignores them
    too: a sentence means what it looks like.
    """
    if not sentence.isascii():
        sentence = "".join(one for one in sentence if not _is_invisible(one))
    return " ".join(sentence.lower().split())


def _is_invisible(character: str) -> bool:
    return (
        unicodedata.category(character) == "Cf"
        or "\ufe00" <= character <= "\ufe0f"  # variation selectors
        or "\U000e0100" <= character <= "\U000e01ef"
        or character in "\u034f\u180b\u180c\u180d\u180f"  # grapheme joiner, Mongolian selectors
    )
