# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Echo, delay and cancellation of what was understood, and the gate for texts from outside."""

from __future__ import annotations

import pytest

from referdino_core.following import Instruction, Intent, NotUnderstood
from referdino_core.voice import Confirmation, Gate, ListenerSettings
from referdino_core.voice.gating import GRACE, TextGate

FOLLOW = Instruction(Intent.FOLLOW, "the red ball")


def test_what_moves_waits_and_is_carried_out_once() -> None:
    confirmation = Confirmation(1.0)
    reaction = confirmation.react(FOLLOW, 10.0)
    assert (reaction.heard, reaction.now, reaction.stop) == ("follow the red ball", None, False)
    assert confirmation.due(10.9) is None
    assert confirmation.due(11.0) == FOLLOW
    assert confirmation.due(20.0) is None


@pytest.mark.parametrize("intent", [Intent.WAIT, Intent.FORGET])
def test_what_only_ends_motion_is_carried_out_at_once(intent: Intent) -> None:
    reaction = Confirmation(1.0).react(Instruction(intent), 0.0)
    assert reaction.now == Instruction(intent) and not reaction.stop


def test_to_resume_is_to_move() -> None:
    confirmation = Confirmation(1.0)
    assert confirmation.react(Instruction(Intent.RESUME), 0.0).now is None
    assert confirmation.due(1.0) == Instruction(Intent.RESUME)


@pytest.mark.parametrize(
    "next_one",
    [
        Instruction(Intent.STOP),
        Instruction(Intent.WAIT),
        NotUnderstood("find the", "It breaks off."),
    ],
)
def test_whatever_comes_next_drops_what_waits(next_one: Instruction | NotUnderstood) -> None:
    confirmation = Confirmation(1.0)
    confirmation.react(FOLLOW, 0.0)
    confirmation.react(next_one, 0.5)
    assert confirmation.due(100.0) is None


def test_what_is_not_understood_says_what_was_heard() -> None:
    reaction = Confirmation(1.0).react(NotUnderstood("find the", "It breaks off."), 0.0)
    assert reaction.heard == "Not understood: 'find the'. It breaks off."


def test_cancellation_returns_what_waited() -> None:
    confirmation = Confirmation(1.0)
    confirmation.react(FOLLOW, 0.0)
    assert confirmation.cancel() == FOLLOW
    assert confirmation.cancel() is None and confirmation.due(9.0) is None


def gate(kind: Gate) -> TextGate:
    return TextGate(ListenerSettings(gate=kind, wake_phrase="hey robot", patience=5.0))


def test_texts_need_the_talk_button() -> None:
    one = gate(Gate.PUSH_TO_TALK)
    assert "button was not held" in one.refusal("follow me", 0.0)
    one.press()
    assert one.refusal("follow me", 1.0) == ""
    one.release(2.0)
    assert one.refusal("follow me", 2.0 + GRACE) == ""
    assert one.refusal("follow me", 2.0 + GRACE) != ""  # one text for each press


def test_a_text_that_comes_too_late_is_refused() -> None:
    one = gate(Gate.PUSH_TO_TALK)
    one.press()
    one.release(2.0)
    assert one.refusal("follow me", 2.1 + GRACE) != ""


def test_texts_need_the_wake_phrase() -> None:
    one = gate(Gate.WAKE_PHRASE)
    assert "does not begin with 'hey robot'" in one.refusal("follow the ball", 0.0)
    assert one.refusal("Hey robot, follow the ball", 0.0) == ""
    assert "alone" in one.refusal("hey robot", 1.0)
    assert one.refusal("follow the ball", 3.0) == ""
    assert one.refusal("follow the ball", 4.0) != ""
    one.press()
    assert one.refusal("follow the ball", 5.0) != ""  # the button is not the gate


def test_texts_from_outside_pass_where_the_gate_is_outside_unless_the_robot_speaks() -> None:
    one = gate(Gate.OUTSIDE)
    assert one.refusal("follow the ball", 0.0) == ""
    one.mute(True)
    assert "robot itself" in one.refusal("follow the ball", 0.0)
    one.mute(False)
    assert one.refusal("follow the ball", 0.0) == ""
