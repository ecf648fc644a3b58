# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""peers/noun_phrases.py: head noun phrases by rules."""

from __future__ import annotations

import pytest

from referdino_core.peers.noun_phrases import head_noun_phrase, is_noun_phrase


@pytest.mark.parametrize(
    ("sentence", "phrase"),
    [
        ("the red ball", "red ball"),
        ("Red ball.", "red ball"),
        ("the left ball", "left ball"),
        ("the red running shoes", "red running shoes"),
        ("a tall building", "tall building"),
    ],
)
def test_a_noun_phrase_is_kept_without_its_determiner(sentence: str, phrase: str) -> None:
    assert head_noun_phrase(sentence) == phrase
    assert is_noun_phrase(sentence)


@pytest.mark.parametrize(
    ("sentence", "phrase"),
    [
        ("Follow the red ball on the table.", "red ball"),
        ("a man in a blue shirt running to the left", "man"),
        ("a man running fast", "man"),
        ("the dog that is jumping", "dog"),
        ("the ball left of the cup", "ball"),
        ("person, second from the left", "person"),
        ("go to the chair next to the door", "chair"),
        ("where is my cup?", "cup"),
        ("show me the yellow school bus", "yellow school bus"),
        ("the white rabbit eating grass", "white rabbit"),
    ],
)
def test_other_sentences_are_reduced(sentence: str, phrase: str) -> None:
    assert head_noun_phrase(sentence) == phrase
    assert not is_noun_phrase(sentence)


def test_a_sentence_without_a_phrase_is_kept_whole() -> None:
    assert head_noun_phrase("the") == "the"
    assert head_noun_phrase("follow") == "follow"
