# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Goals of a follower: the task that the text of a goal or an instruction asks for."""

from __future__ import annotations

from dataclasses import dataclass

from referdino_core.following import (
    Instruction,
    Intent,
    Mode,
    NotUnderstood,
    description_grammar,
    parse,
)
from referdino_core.following.phrases import Grammar
from referdino_core.models import vocabulary_file

MODES = {
    Intent.FOLLOW: Mode.FOLLOW,
    Intent.APPROACH: Mode.APPROACH,
    Intent.LOOK: Mode.FACE,
    Intent.FIND: Mode.FIND,
}
"""The mode of each intent that is said of an object."""
MODE_NUMBERS = (Mode.FOLLOW, Mode.APPROACH, Mode.FACE, Mode.FIND)
"""The constants of `referdino/action/Follow`."""


@dataclass(frozen=True)
class Task:
    """Task: a behaviour, and its object as a sentence, a running command's id or poses.

    Attributes:
        place_source: topic or frame that the object's places come from; "" for the node referdino.
    """

    mode: Mode
    sentence: str = ""
    command_id: str = ""
    place_source: str = ""


def grammar_of(vocabulary: str) -> Grammar | None:
    """How objects are described with a model's words; None for a model that reads any word.

    Args:
        vocabulary: name of a bundled model, such as "nano", or words with spaces between them; ""
            for any word.

    Raises:
        ReferDINOError: nothing can be described with them.
    """
    words = vocabulary.split()
    if len(words) == 1 and vocabulary_file(words[0]).is_file():
        words = vocabulary_file(words[0]).read_text().split()
    return description_grammar(words) if words else None


def task_of_goal(
    text: str, command_id: str, mode: int, grammar: Grammar | None
) -> Task | NotUnderstood:
    """The task of an action goal.

    The text is a whole instruction, whose verb says the mode, or the description of an object.
    """
    if mode >= len(MODE_NUMBERS):
        return NotUnderstood(text, f"There is no mode {mode}; 0 to {len(MODE_NUMBERS) - 1} are.")
    if not text.strip():
        if command_id:
            return Task(MODE_NUMBERS[mode], command_id=command_id)
        return NotUnderstood(text, "The goal has neither a text nor a command_id.")
    instruction = parse(text, grammar)
    if isinstance(instruction, Instruction):
        known = MODES.get(instruction.intent)
        if known is None:
            return NotUnderstood(
                text,
                f"{instruction.intent.value!r} is no goal; publish it on the instruction topic.",
            )
        return Task(known, instruction.sentence)
    described = parse(f"follow {text}", grammar)
    if isinstance(described, Instruction) and described.intent is Intent.FOLLOW:
        return Task(MODE_NUMBERS[mode], described.sentence)
    return instruction
