# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sentences as they are compared and read: without case, spare white space and invisible marks."""

from __future__ import annotations

import unicodedata


def plain(sentence: str) -> str:
    """The sentence in lower case, with single spaces, without characters that cannot be seen.

    Those are Unicode's format characters (soft hyphens, zero-width spaces and joiners, marks of
    direction, byte order marks) and variation selectors. They stand for nothing, as in BERT's own
    tokenizer: a sentence means what it looks like.
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
