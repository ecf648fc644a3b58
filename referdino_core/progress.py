# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Progress reports and cancellation of long tasks, the same way everywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from referdino_core.errors import Cancelled


@dataclass(frozen=True)
class Progress:
    """State of a long task.

    Attributes:
        done: completed part, in the unit of `total`.
        total: the whole task, such as frames or bytes; 1 if `done` is a fraction, None if
            the size of the task is unknown.
        phase: the step in progress, in a few words; may be empty.
    """

    done: float
    total: float | None = 1.0
    phase: str = ""

    @property
    def fraction(self) -> float:
        """Completed fraction in [0, 1]; 0 if the size of the task is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0


def _discard(progress: Progress) -> None:
    return None


@dataclass(frozen=True)
class ProgressMonitor:
    """Progress callback and cancellation flag that a caller passes to a long task.

    Attributes:
        on_progress: called with every report, from any thread; an exception that it raises ends
            the task.
        cancelled: set it to cancel the task, which raises `Cancelled` at the next opportunity.
    """

    on_progress: Callable[[Progress], None] = _discard
    cancelled: threading.Event = field(default_factory=threading.Event)

    def report(self, done: float, total: float | None = 1.0, phase: str = "") -> None:
        """Report progress; the arguments are those of `Progress`."""
        self.on_progress(Progress(done, total, phase))

    def check(self, task: str) -> None:
        """Raise `Cancelled` if cancellation was requested; `task` names the task in the message."""
        if self.cancelled.is_set():
            raise Cancelled(f"{task} was cancelled.")

    def with_phase(self, phase: str) -> ProgressMonitor:
        """A monitor for a subtask, which passes its reports on under one phase."""
        return ProgressMonitor(
            lambda progress: self.report(progress.done, progress.total, phase), self.cancelled
        )
