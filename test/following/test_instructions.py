# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sentences to instructions, and the grammar for speech recognisers."""

from __future__ import annotations

import numpy as np
import pytest

from referdino_core.errors import ReferDINOError
from referdino_core.following.instructions import (
    VERBS,
    Instruction,
    Intent,
    NotUnderstood,
    description_grammar,
    jsgf,
    parse,
)
from referdino_core.world import VOCABULARY
from referdino_core.world.grammar import (
    DIRECTION_SIDES,
    LOCATION_WORDS,
    MOTION_WORDS,
    RELATION_WORDS,
    Description,
    Grammar,
)

NANO = description_grammar(VOCABULARY)


@pytest.mark.parametrize(
    ("text", "intent", "sentence"),
    [
        ("Follow the red ball!", Intent.FOLLOW, "the red ball"),
        ("please go to  the blue box.", Intent.APPROACH, "the blue box"),
        ("find the small red box behind the green ball", Intent.FIND,
         "the small red box behind the green ball"),
        ("look at the thing on the left", Intent.LOOK, "the thing on the left"),
        ("robot, wait here please", Intent.WAIT, ""),
        ("go on", Intent.RESUME, ""),
        ("forget it", Intent.FORGET, ""),
        ("STOP", Intent.STOP, ""),
        ("follow the red ball stop", Intent.STOP, ""),
        ("stop following the red ball", Intent.STOP, ""),
        ("follow the stop red", Intent.STOP, ""),
    ],
)  # fmt: skip
def test_what_is_understood(text: str, intent: Intent, sentence: str) -> None:
    assert parse(text, NANO) == Instruction(intent, sentence)


@pytest.mark.parametrize("grammar", [NANO, None])
@pytest.mark.parametrize(
    "text",
    [
        "follow the person, stop now!",
        "follow the red ball stop please",
        "go to the door no stop robot",
        "follow the dog and stop, ok",
        "\u201cStop\u201d",
        "\u2018stop\u2019",
        "\u00abSTOP!\u00bb",
        "Stop\u2014",
        "stop\u2026 please",
        "stop,stop",
        "stop-stop",
        "stop_now",
        "please stop it",
        "robot halt at once",
        "don't stop",
        "\uff33\uff34\uff2f\uff30",
        "stop\u200bnow",
    ],
)
def test_stop_is_understood_wherever_it_is_said(text: str, grammar: object) -> None:
    assert parse(text, grammar) == Instruction(Intent.STOP)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["follow the man who stopped", "find the unstoppable one"])
def test_a_word_that_only_holds_stop_is_another_word(text: str) -> None:
    understood = parse(text)
    assert isinstance(understood, Instruction) and understood.intent is not Intent.STOP


def test_punctuation_of_any_script_is_no_part_of_a_word() -> None:
    wanted = Instruction(Intent.FOLLOW, "the red ball")
    for text in (
        "\u201cFollow the red ball\u201d",
        "follow \u2014 the red ball\u2014",
        "\u00bfFollow the red ball?",
    ):
        assert parse(text, NANO) == wanted
    assert parse("follow the t-shirt's owner") == Instruction(Intent.FOLLOW, "the t-shirt's owner")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "Nothing was said"),
        ("follow", "follow what?"),
        ("go to", "go to what?"),
        ("follow the", "'the'"),
        ("find the blue cylinder on", "'on'"),
        ("follow the blue cylinder on the", "'the'"),
        ("follow the mug", "'mug'"),
        ("follow red the ball", "does not describe"),
        ("follow the ball the box", "does not describe"),
        ("what time is the meeting", "begins with none of"),
        ("the red ball", "begins with none of"),
        ("followed the red ball", "begins with none of"),
        ("wait the red ball", "begins with none of"),
    ],
)
def test_what_does_not_parse_completely_moves_nothing_and_says_why(text: str, word: str) -> None:
    answer = parse(text, NANO)
    assert isinstance(answer, NotUnderstood)
    assert word in answer.reason


def test_any_object_may_be_named_to_a_model_that_reads_any_word() -> None:
    assert parse("follow the dog in the red coat") == Instruction(
        Intent.FOLLOW, "the dog in the red coat"
    )
    assert isinstance(parse("follow the dog in the"), NotUnderstood)


def test_every_sentence_of_the_world_is_a_description() -> None:
    grammar = Grammar(np.random.default_rng(0))
    anchor = Description(None, "red", "box")
    for colour in (None, "green"):
        description = Description("small", colour, "ball")
        said = [
            grammar.plain(description),
            *(grammar.location(description, word) for word in LOCATION_WORDS),
            *(grammar.relation(description, word, anchor) for word in RELATION_WORDS),
            *(grammar.motion(description, word) for word in MOTION_WORDS),
            *(grammar.direction(description, side) for side in DIRECTION_SIDES),
        ]
        for sentence in said:
            assert parse(f"approach {sentence}", NANO) == Instruction(Intent.APPROACH, sentence)


def test_the_speech_grammar_holds_the_models_words_alone() -> None:
    words = {"the", "red", "ball", "behind", "small"}
    text = jsgf(words)
    assert text.startswith("#JSGF V1.0;\ngrammar instructions;\npublic <instruction> =")
    assert "blue" not in text and "leftmost" not in text
    assert "<relation> = behind;" in text
    assert set(description_grammar(words).words()) == words
    assert all(verb in text for verbs in VERBS.values() for verb in verbs)


def test_words_that_describe_nothing_make_no_grammar() -> None:
    with pytest.raises(ReferDINOError, match="make no description"):
        jsgf({"dog", "cat"})
