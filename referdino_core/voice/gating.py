# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What stands between a recognised text and the robot: the gate, and the confirmation."""

from __future__ import annotations

from dataclasses import dataclass

from referdino_core.following import Instruction, Intent, NotUnderstood
from referdino_core.voice.grammar import MOVING, begins_with, said
from referdino_core.voice.listening import Gate, ListenerSettings

GRACE = 5.0
"""Seconds that a recogniser may take for a text after it was said."""


class TextGate:
    """Decides whether a text is meant for the robot; "stop" does not ask here.

    All times are seconds of one steady clock.

    Args:
        settings: gate, wake phrase and patience of the listener.
    """

    def __init__(self, settings: ListenerSettings) -> None:
        self._settings = settings
        self._held = False
        self._until = float("-inf")
        self._muted = False

    def press(self) -> None:
        """The talk button is held from now on."""
        self._held = self._settings.gate is Gate.PUSH_TO_TALK and not self._muted

    def release(self, now: float) -> None:
        """The talk button is let go; the text of what was said may still come."""
        if self._held:
            self._held, self._until = False, now + GRACE

    def open(self, now: float) -> None:
        """The next thing said is an instruction."""
        if not self._muted:
            self._until = now + self._settings.patience + GRACE

    def mute(self, speaking: bool) -> None:
        """While the robot itself speaks, nothing counts."""
        self._muted = speaking
        if speaking:
            self._held, self._until = False, float("-inf")

    def refusal(self, text: str, now: float) -> str:
        """Why a text is no instruction; "" where it may be one. An open gate lets one text in."""
        gate = self._settings.gate
        if self._muted:
            return "The robot itself was speaking."
        if gate is Gate.OUTSIDE or self._held:
            return ""
        if gate is Gate.WAKE_PHRASE and begins_with(text, self._settings.wake_phrase):
            if text.strip().count(" ") < len(self._settings.wake_phrase.split()):
                self.open(now)
                return "It is the wake phrase alone; an instruction may follow."
            return ""
        if now <= self._until:
            self._until = float("-inf")
            return ""
        if gate is Gate.WAKE_PHRASE:
            return f"It does not begin with {self._settings.wake_phrase!r}."
        return "The talk button was not held."


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
