# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Instructions to the robot, parsed from typed or spoken sentences.

What does not parse completely moves nothing, and says why. "stop" is understood wherever it is one
of the words, so that no object can be described with it: not a stop sign either.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from referdino_core.errors import ReferDINOError
from referdino_core.following.phrases import Grammar
from referdino_core.sentences import plain


class Intent(str, Enum):
    """Intent of an instruction; the first four need an object."""

    FOLLOW = "follow"
    APPROACH = "approach"
    FIND = "find"
    LOOK = "look"
    STOP = "stop"
    WAIT = "wait"
    RESUME = "resume"
    FORGET = "forget"

    @property
    def wants_object(self) -> bool:
        """Whether the intent needs an object."""
        return self in (Intent.FOLLOW, Intent.APPROACH, Intent.FIND, Intent.LOOK)


@dataclass(frozen=True)
class Instruction:
    """An instruction that was understood.

    sentence: the object's description, for the model; "" for an intent without an object.
    """

    intent: Intent
    sentence: str = ""


@dataclass(frozen=True)
class NotUnderstood:
    """A text that is no instruction, with the reason."""

    text: str
    reason: str


VERBS: dict[Intent, tuple[str, ...]] = {
    Intent.FOLLOW: ("follow", "go after", "go with"),
    Intent.APPROACH: ("approach", "go to", "drive to", "move to", "come to"),
    Intent.FIND: ("find", "look for", "search for"),
    Intent.LOOK: ("look at", "face", "turn to"),
    Intent.STOP: ("stop", "halt", "stop moving", "stop following"),
    Intent.WAIT: ("wait", "pause", "stay", "wait here", "stay here"),
    Intent.RESUME: ("resume", "continue", "go on", "carry on"),
    Intent.FORGET: ("forget it", "forget that", "forget everything", "never mind"),
}
"""What each intent is called; none is the beginning of another's with an object."""

STOP_WORDS = ("stop", "halt")
"""Words that stop the robot wherever they are in a text."""

_DESCRIPTIONS = {
    "article": "the | a",
    "size": "small | little | big | large",
    "colour": "red | green | blue | yellow | purple | orange | white | black",
    "noun": "ball | sphere | box | cube | cylinder | capsule | object | thing | one",
    "thing": "[<size>] [<colour>] <noun>",
    "rank": "leftmost | rightmost | closest | nearest | farthest | moving | still",
    "side": "left | right",
    "place": "on the <side> | in the (middle | center)",
    "relation": "<side> of | to the <side> of | behind | in front of | next to | beside",
    "motion": "[that is] (moving [[to the] <side>] | going <side> | standing still)",
    "object": "<article> [<rank>] <thing> [<place> | <relation> the <thing> | <motion>]",
}
_WORD = re.compile(r"[^\W\d_]+")
_LEADING = re.compile(r"^(?:(?:please|robot|referdino|hey|ok|okay|now|and)\s+)+")
_TRAILING = re.compile(r"(?:\s+(?:please|now))+$")
_DANGLING = frozenset(
    (
        *("the", "a", "an", "my", "your", "and", "or", "that", "is"),
        *("of", "on", "in", "to", "at", "with", "from", "by", "behind", "beside", "next", "near"),
    )
)
"""Words that no description ends with."""


def description_grammar(words: Collection[str]) -> Grammar:
    """How objects are described with the words of a small model, such as `nano`.

    Args:
        words: the model's vocabulary.

    Raises:
        ReferDINOError: no object can be described with them.
    """
    grammar = Grammar.read(_DESCRIPTIONS).within(words)
    if "object" not in grammar.rules:
        raise ReferDINOError(
            "The model's words make no description of an object. A model that reads any word, "
            "such as swinb, needs no grammar; let a recogniser that takes dictation hear for it."
        )
    return grammar


def jsgf(words: Collection[str]) -> str:
    """A JSGF grammar of every instruction that can be given with a model's words.

    Raises:
        ReferDINOError: no object can be described with them.
    """
    descriptions = description_grammar(words)
    aimed = [verb for intent in Intent if intent.wants_object for verb in VERBS[intent]]
    bare = [verb for intent in Intent if not intent.wants_object for verb in VERBS[intent]]
    own = Grammar.read(
        {
            "instruction": "<aimed> <object> | <bare>",
            "aimed": " | ".join(aimed),
            "bare": " | ".join(bare),
        }
    )
    return Grammar({**own.rules, **descriptions.rules}).jsgf("instructions", "instruction")


def parse(text: str, descriptions: Grammar | None = None) -> Instruction | NotUnderstood:
    """Parse a typed or recognised text.

    Args:
        text: as it was typed, or as a recogniser heard it.
        descriptions: how the model's objects can be described (`description_grammar`); None for a
            model that reads any word.
    """
    if _holds_stop(text):
        return Instruction(Intent.STOP)
    words = _normalised(text)
    if not words:
        return NotUnderstood(text, "Nothing was said.")
    return _parse_words(_TRAILING.sub("", _LEADING.sub("", words)), text, descriptions)


def _holds_stop(text: str) -> bool:
    """Whether one of the words is a stop word, in any width and between invisible characters."""
    compatible = unicodedata.normalize("NFKC", text)
    visible = "".join(" " if unicodedata.category(one) == "Cf" else one for one in compatible)
    return any(word in STOP_WORDS for word in _WORD.findall(plain(visible)))


def _parse_words(
    words: str, text: str, descriptions: Grammar | None
) -> Instruction | NotUnderstood:
    for intent, verbs in VERBS.items():
        if not intent.wants_object and words in verbs:
            return Instruction(intent)
    for intent, verbs in VERBS.items():
        for verb in verbs:
            if intent.wants_object and (words == verb or words.startswith(f"{verb} ")):
                return _with_object(intent, verb, words[len(verb) :].strip(), text, descriptions)
    known = ", ".join(verbs[0] for verbs in VERBS.values())
    return NotUnderstood(text, f"It begins with none of: {known}.")


def _with_object(
    intent: Intent, verb: str, sentence: str, text: str, descriptions: Grammar | None
) -> Instruction | NotUnderstood:
    if not sentence:
        return NotUnderstood(text, f"Nothing is named: {verb} what?")
    if sentence.split()[-1] in _DANGLING:
        return NotUnderstood(text, f"It breaks off after {sentence.split()[-1]!r}.")
    if descriptions is None:
        return Instruction(intent, sentence)
    known = set(descriptions.words())
    unknown = [word for word in sentence.split() if word not in known]
    if unknown:
        return NotUnderstood(text, f"The model does not know {', '.join(map(repr, unknown))}.")
    if not descriptions.matches("object", sentence):
        return NotUnderstood(text, f"{sentence!r} does not describe one object.")
    return Instruction(intent, sentence)


def _normalised(text: str) -> str:
    """Lower-case words with single spaces, without punctuation at their ends."""
    words = (_without_punctuation(word) for word in plain(text).split())
    return " ".join(word for word in words if word)


def _without_punctuation(word: str) -> str:
    """A word without the punctuation, of any script, at its ends."""
    inside = [place for place, sign in enumerate(word) if unicodedata.category(sign)[0] != "P"]
    return word[inside[0] : inside[-1] + 1] if inside else ""
