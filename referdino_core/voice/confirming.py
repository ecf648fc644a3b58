# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From an understood text to an instruction that is carried out: echo, delay, cancellation."""

from __future__ import annotations

from dataclasses import dataclass

from referdino_core.following import Instruction, Intent, NotUnderstood
from referdino_core.voice.grammar import MOVING, said


@dataclass(frozen=True)
class Reaction:
    """What a text leads to.

    heard: for people, what was understood, or why nothing was. now: an instruction to pass on at
    once, or None. stop: whether it stops the robot.
    """

    heard: str
    now: Instruction | None = None
    stop: bool = False


class Confirmation:
    """Holds back instructions that move the robot, so that they can be cancelled.

    Args:
        delay: seconds between the echo of an instruction and its start.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._due = 0.0
        self.pending: Instruction | None = None

    def react(self, understood: Instruction | NotUnderstood, now: float) -> Reaction:
        """Take what was understood; whatever it is, an instruction held back before is dropped.

        Args:
            now: seconds of any steady clock.
        """
        self.pending = None
        if isinstance(understood, NotUnderstood):
            return Reaction(f"Not understood: {understood.text!r}. {understood.reason}")
        if understood.intent is Intent.STOP:
            return Reaction(said(understood), stop=True)
        if understood.intent in MOVING:
            self.pending, self._due = understood, now + self._delay
            return Reaction(said(understood))
        return Reaction(said(understood), now=understood)

    def due(self, now: float) -> Instruction | None:
        """The instruction whose delay is over, once."""
        if self.pending is None or now < self._due:
            return None
        instruction, self.pending = self.pending, None
        return instruction

    def cancel(self) -> Instruction | None:
        """Drop the instruction that is held back, and return it."""
        instruction, self.pending = self.pending, None
        return instruction
