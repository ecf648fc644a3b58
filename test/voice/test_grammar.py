# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The grammar that a recogniser gets, and what of its sentences is understood."""

from __future__ import annotations

import pytest

from referdino_core.errors import ReferDINOError
from referdino_core.following import Instruction, Intent, NotUnderstood
from referdino_core.following.instructions import VERBS
from referdino_core.voice import (
    Transcript,
    description_rules,
    model_words,
    said,
    speech_grammar,
    understand,
)
from referdino_core.voice.grammar import begins_with, pronunciation, without_wake_phrase

DICTIONARY = {
    "left": "L EH F T", "right": "R AY T", "most": "M OW S T", "box": "B AA K S",
    "ball": "B AO L", "cube": "K Y UW B", "object": "AA B JH EH K T", "edge": "EH JH",
}  # fmt: skip


SPOKEN = {word for verbs in VERBS.values() for verb in verbs for word in verb.split()}


def lookup(word: str) -> str | None:
    """A dictionary of all words of nano and all verbs, but a few."""
    if word in ("leftmost", "rightmost", "capsule"):
        return None
    known = word in SPOKEN or word in (model_words("nano") or ()) or word in ("hey", "robot")
    return DICTIONARY.get(word, "AH" if known else None)


def test_the_words_are_those_of_the_model() -> None:
    words = model_words("nano")
    assert words is not None and len(words) == len(set(words)) >= 46
    assert {"ball", "leftmost", "behind"} <= set(words) and "[PAD]" not in words
    assert model_words("swinb") is None


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("ball", "B AO L"),
        ("leftmost", "L EH F T M OW S T"),
        ("rightmost", "R AY T M OW S T"),
        ("balls", "B AO L Z"),
        ("objects", "AA B JH EH K T S"),
        ("boxes", "B AA K S IH Z"),
        ("edges", "EH JH IH Z"),
        ("xylophone", None),
        ("s", None),
    ],
)
def test_pronunciations_of_compounds_and_plurals_come_from_their_parts(
    word: str, phones: str | None
) -> None:
    assert pronunciation(word, DICTIONARY.get) == phones


def test_the_grammar_has_every_intent_and_word_that_can_be_pronounced() -> None:
    words = model_words("nano")
    assert words is not None
    grammar = speech_grammar(words, lookup, "hey robot")
    for part in ("follow", "go to", "look at", "stop", "forget it", "leftmost", "cylinder"):
        assert part in grammar.text
    assert grammar.pronunciations == {
        "leftmost": "L EH F T M OW S T",
        "rightmost": "R AY T M OW S T",
    }
    assert grammar.silent == ("capsule",) and "capsule" not in grammar.text
    assert grammar.text.endswith("<spoken> = [ hey robot ] <instruction>;\n")
    assert speech_grammar(words, lookup).text.endswith("<spoken> = <instruction>;\n")


def test_words_that_no_instruction_uses_are_no_part_of_the_grammar() -> None:
    grammar = speech_grammar(["the", "a", "ball", "balls", "one"], lookup)
    assert "ball" in grammar.text and "balls" not in grammar.text
    assert grammar.silent == () and grammar.pronunciations == {}


def test_a_model_that_reads_any_word_needs_another_recogniser() -> None:
    with pytest.raises(ReferDINOError, match="whisper, or to outside"):
        speech_grammar(model_words("swinb"), lookup)
    assert description_rules(None) is None


def test_a_wake_phrase_that_cannot_be_pronounced_is_refused() -> None:
    with pytest.raises(ReferDINOError, match="xyzzy"):
        speech_grammar(["the", "ball"], lookup, "hey xyzzy")


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("follow the red ball", Instruction(Intent.FOLLOW, "the red ball")),
        ("hey robot go to the blue box", Instruction(Intent.APPROACH, "the blue box")),
        ("Hey, robot! Stop.", Instruction(Intent.STOP)),
        ("wait here", Instruction(Intent.WAIT)),
        ("forget it", Instruction(Intent.FORGET)),
    ],
)
def test_what_was_heard_is_parsed_once_more(text: str, instruction: Instruction) -> None:
    rules = description_rules(model_words("nano"))
    assert understand(Transcript(text), rules, "hey robot") == instruction
    assert understand(Transcript(said(instruction)), rules, "hey robot") == instruction


@pytest.mark.parametrize(
    "text", ["find the blue cylinder on", "hey robot", "follow the", "", "what time is the meeting"]
)
def test_what_is_unfinished_is_refused(text: str) -> None:
    rules = description_rules(model_words("nano"))
    assert isinstance(understand(Transcript(text), rules, "hey robot"), NotUnderstood)


def test_a_sentence_whose_sound_went_on_is_refused_even_if_it_parses() -> None:
    rules = description_rules(model_words("nano"))
    heard = understand(Transcript("follow the red ball", is_whole=False), rules)
    assert heard == NotUnderstood("follow the red ball", "The rest did not fit.")


@pytest.mark.parametrize("intent", Intent)
def test_every_intent_is_said_so_that_it_is_understood(intent: Intent) -> None:
    instruction = Instruction(intent, "the red ball" if intent.wants_object else "")
    assert (
        understand(Transcript(said(instruction)), description_rules(model_words("nano")))
        == instruction
    )


def test_wake_phrases() -> None:
    assert without_wake_phrase("Hey Robot, wait!", "hey robot") == "wait"
    assert without_wake_phrase("robot, wait", "hey robot") == "robot, wait"
    assert without_wake_phrase("wait", "") == "wait"
    assert begins_with("hey, robot: wait", "Hey robot") and not begins_with("wait", "")
