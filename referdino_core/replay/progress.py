# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Whoever watches a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from referdino_core.errors import ReferDINOError


def counted(number: int, thing: str) -> str:
    """The number with the word for what it counts, such as "1 frame" and "2 frames"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class RunInterrupted(ReferDINOError):
    """A run was asked to stop; it goes on when the same is asked for again."""


def _ignore(number: int | None) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True)
class RunWatch:
    """What a run tells, and asks.

    Attributes:
        on_begin: told how many frames there will be, None where nobody knows.
        on_frame: told after every frame how many are done.
        stop_requested: asked after every frame.
    """

    on_begin: Callable[[int | None], None] = _ignore
    on_frame: Callable[[int], None] = _ignore
    stop_requested: Callable[[], bool] = _never
