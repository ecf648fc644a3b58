# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The talk button: presses and releases out of messages that repeat, or get lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

_SAME_PRESS = 1.0
"""Seconds within which a repeated true is the same press; a later one is another."""


class TalkButton:
    """A button that messages say to be held or not.

    A true that repeats another within a second is the same press. A later one is a new press, whose
    predecessor's end got lost.

    Args:
        changed: called with True at every press, with False at every release.
        number: of the button on a joystick; -1 for none.
    """

    def __init__(self, changed: Callable[[bool], None], number: int) -> None:
        self._changed = changed
        self._number = number
        self._joystick = False
        self._held_at: float | None = None

    def set(self, held: bool) -> None:
        """A message says that it is held, or that it is not."""
        now, last = time.monotonic(), self._held_at
        self._held_at = now if held else None
        if not (held and last is not None and now - last < _SAME_PRESS):
            self._changed(held)

    def set_joystick(self, buttons: Sequence[int]) -> None:
        """The state of a joystick's buttons, which comes all the time."""
        pressed = self._number < len(buttons) and bool(buttons[self._number])
        if pressed != self._joystick:
            self._joystick = pressed
            self._changed(pressed)
