# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Goals of an action, from their acceptance to their terminal state; for any action's messages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from referdino_core.following import Decision
from referdino_ros.following.follower_control import Ending, FollowerControl

_PERIOD = 0.1
"""Seconds between two messages of feedback."""


def run_goal(
    handle: Any,
    control: FollowerControl,
    begin: Callable[[Callable[[Ending], None]], None],
    feedback: Callable[[Decision], Any],
) -> Ending:
    """Begin a goal, publish its feedback, wait for its end, and set its terminal state.

    It blocks: it is for an execute callback in a thread of its own.

    Args:
        handle: the `ServerGoalHandle`.
        begin: begins the goal; gets what is to be called at its end.
        feedback: the action's feedback of a decision.

    Raises:
        ReferDINOError: the goal cannot begin; its state is still to be set.
    """
    over = threading.Event()
    endings: list[Ending] = []

    def on_end(ending: Ending) -> None:
        endings.append(ending)
        over.set()

    begin(on_end)
    while not over.wait(_PERIOD):
        if handle.is_cancel_requested:
            control.end("The goal was cancelled.")
        elif control.decision is not None:
            handle.publish_feedback(feedback(control.decision))
        if not control.is_open:
            break
    ending = endings[0] if endings else Ending(None, "The node ended.", None)
    if handle.is_cancel_requested:
        handle.canceled()
    elif ending.outcome is not None and ending.outcome.is_success:
        handle.succeed()
    else:
        handle.abort()
    return ending
