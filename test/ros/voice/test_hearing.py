# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Presses and releases of the talk button."""

from __future__ import annotations

import pytest

from referdino_ros.voice import hearing
from referdino_ros.voice.hearing import TalkButton

pytestmark = pytest.mark.ros


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(hearing.time, "monotonic", lambda: now[0])
    return now


def test_a_true_that_is_repeated_is_one_press(clock: list[float]) -> None:
    changes: list[bool] = []
    button = TalkButton(changes.append, -1)
    for step in range(20):
        clock[0] = 100.0 + 0.1 * step
        button.set(True)
    button.set(False)
    button.set(True)
    assert changes == [True, False, True]


def test_a_press_whose_predecessor_never_ended_is_a_press(clock: list[float]) -> None:
    changes: list[bool] = []
    button = TalkButton(changes.append, -1)
    button.set(True)
    clock[0] += 30.0
    button.set(True)
    assert changes == [True, True]


def test_a_joystick_changes_the_button_at_its_edges() -> None:
    changes: list[bool] = []
    button = TalkButton(changes.append, 2)
    for buttons in ([0, 0, 0], [1, 0, 1], [0, 0, 1], [0, 0, 0], [0]):
        button.set_joystick(buttons)
    assert changes == [True, False]
