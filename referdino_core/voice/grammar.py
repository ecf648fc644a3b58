# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a recogniser with a grammar listens for: every instruction in the words of a small model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from referdino_core.errors import ReferDINOError
from referdino_core.following import (
    Instruction,
    Intent,
    NotUnderstood,
    description_grammar,
    jsgf,
    parse,
)
from referdino_core.following.instructions import VERBS
from referdino_core.following.phrases import Grammar
from referdino_core.models import vocabulary_file
from referdino_core.sentences import plain

TOP_RULE = "instructions.spoken"
Lookup = Callable[[str], "str | None"]
"""A pronouncing dictionary: the phones of a word, separated by spaces, or None."""

_SIBILANTS = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH"})
_SHORTEST_PART = 3


def model_words(model: str) -> tuple[str, ...] | None:
    """The words that a bundled model reads; None for a model that reads any word.

    Args:
        model: its name, such as "nano".
    """
    path = vocabulary_file(model)
    if not path.is_file():
        return None
    return tuple(word for word in path.read_text(encoding="utf-8").split() if word.isalpha())


@dataclass(frozen=True)
class SpeechGrammar:
    """A grammar for a recogniser.

    Attributes:
        text: in JSGF; the rule to recognise is `TOP_RULE`.
        pronunciations: phones of words that the recogniser's dictionary lacks.
        silent: words of the model that cannot be pronounced and are left out.
    """

    text: str
    pronunciations: dict[str, str]
    silent: tuple[str, ...]


def speech_grammar(
    words: Collection[str] | None, lookup: Lookup, wake_phrase: str = ""
) -> SpeechGrammar:
    """The grammar of all instructions that a model's words allow.

    Args:
        words: the model's vocabulary; None for one that reads any word.
        lookup: the recogniser's dictionary.
        wake_phrase: may be spoken before an instruction; "" for none.

    Raises:
        ReferDINOError: the model reads any word, or nothing can be described with its words, or
            the wake phrase cannot be pronounced.
    """
    if words is None:
        raise ReferDINOError(
            "A recogniser with a grammar hears only the words of a small model, such as nano; this "
            "model reads any word. Set recogniser to whisper, or to outside and let a recogniser "
            "of your own publish what it hears."
        )
    spoken = _bare_words(wake_phrase)
    commands = {word for verbs in VERBS.values() for verb in verbs for word in verb.split()}
    phones = {word: pronunciation(word, lookup) for word in {*words, *commands, *spoken}}
    unspeakable = [word for word in (*spoken, *sorted(commands)) if phones[word] is None]
    if unspeakable:
        raise ReferDINOError(
            f"The recogniser's dictionary does not say how to pronounce {', '.join(unspeakable)}; "
            "choose other words for the wake phrase."
        )
    text = jsgf([word for word in words if phones[word] is not None])
    prefix = f"[ {' '.join(spoken)} ] " if spoken else ""
    return SpeechGrammar(
        text=f"{text}<spoken> = {prefix}<instruction>;\n",
        pronunciations={
            word: how for word, how in sorted(phones.items()) if how and lookup(word) is None
        },
        silent=tuple(sorted(word for word in words if phones[word] is None)),
    )


def pronunciation(word: str, lookup: Lookup) -> str | None:
    """Phones of a word; of compounds and plurals that the dictionary lacks, from their parts."""
    known = lookup(word)
    if known is not None:
        return known
    if word.endswith("s") and len(word) > _SHORTEST_PART:
        stems = [word[:-1], word[:-2]] if word.endswith("es") else [word[:-1]]
        for stem in stems:
            single = lookup(stem)
            if single is not None:
                return f"{single} {_plural_ending(single.split()[-1])}"
    splits = range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1)
    for at in sorted(splits, key=lambda at: abs(2 * at - len(word))):
        parts = [lookup(word[:at]), lookup(word[at:])]
        if all(parts):
            return " ".join(str(part) for part in parts)
    return None


def _plural_ending(phone: str) -> str:
    if phone in _SIBILANTS:
        return "IH Z"
    return "S" if phone in _VOICELESS else "Z"


def description_rules(words: Collection[str] | None) -> Grammar | None:
    """How objects are described with a model's words; None for a model that reads any word."""
    return None if words is None else description_grammar(words)


@dataclass(frozen=True)
class Transcript:
    """What a recogniser heard.

    is_whole: False where the sound ended before a sentence of the grammar did.
    """

    text: str
    is_whole: bool = True


def understand(
    heard: Transcript, descriptions: Grammar | None, wake_phrase: str = ""
) -> Instruction | NotUnderstood:
    """The instruction in what was heard, which must parse completely.

    Args:
        heard: it may begin with the wake phrase.
        descriptions: see `description_rules`.
        wake_phrase: "" for none.
    """
    text = without_wake_phrase(heard.text, wake_phrase)
    instruction = parse(text, descriptions)
    if isinstance(instruction, NotUnderstood) or instruction.intent is Intent.STOP:
        return instruction
    return instruction if heard.is_whole else NotUnderstood(text, "The rest did not fit.")


def without_wake_phrase(text: str, wake_phrase: str) -> str:
    """The text after its wake phrase, if it begins with one; else the text."""
    words, wake = _bare_words(text), _bare_words(wake_phrase)
    if wake and words[: len(wake)] == wake:
        return " ".join(words[len(wake) :])
    return text


def begins_with(text: str, wake_phrase: str) -> bool:
    """Whether the text begins with the wake phrase, punctuation and case aside."""
    wake = _bare_words(wake_phrase)
    return bool(wake) and _bare_words(text)[: len(wake)] == wake


def _bare_words(text: str) -> list[str]:
    words = (word.strip(".,;:!?\"'") for word in plain(text).split())
    return [word for word in words if word]


def said(instruction: Instruction) -> str:
    """An instruction in words; `parse` reads them as the same one."""
    return f"{VERBS[instruction.intent][0]} {instruction.sentence}".strip()


MOVING = frozenset(
    {Intent.FOLLOW, Intent.APPROACH, Intent.FIND, Intent.LOOK, Intent.RESUME},
)
"""Intents that can set the robot in motion; the others only end or pause it."""
