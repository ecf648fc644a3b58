# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One percentage out of the nested phases that TensorRT reports, and a line in the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

SECONDS_BETWEEN_LINES = 5.0

# How many phases there will be is not known beforehand: a child takes this share of what its
# parent's current step still lacks, and a phase without a parent this share of the whole.
_SHARE_OF_CHILD = 0.5
_SHARE_OF_ROOT = 0.95

_log = logging.getLogger("referdino.tensorrt")


@dataclass(frozen=True)
class BuildProgress:
    """How far building is.

    fraction: 0..1 over everything that is built, never less than before; it begins anew only where
    an engine that was found turns out to be unusable. stage: whose engine is being built. phase:
    TensorRT's own name for what it does; empty at the start and at the end.
    """

    fraction: float
    stage: str
    phase: str


OnProgress = Callable[[BuildProgress], None]


class PhaseTree:
    """The phases under way of one build. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._finished_roots = 0.0
        self._fraction = 0.0

    @property
    def fraction(self) -> float:
        """How much of the build is done, 0..1; it never falls."""
        with self._lock:
            return self._fraction

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note that a phase begins."""
        with self._lock:
            self._phases[name] = _Phase(parent if parent in self._phases else None, max(steps, 1))
            self._update()

    def complete_step(self, name: str, step: int) -> None:
        """Note that a phase has completed a step, counted from 0."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.completed = max(phase.completed, min(step + 1, phase.steps))
                phase.finished_children = 0.0
                self._update()

    def finish(self, name: str) -> None:
        """Note that a phase ends, whether or not it has completed all its steps."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is None:
                return
            parent = self._phases.get(phase.parent) if phase.parent is not None else None
            if parent is not None:
                parent.finished_children = _advance(parent.finished_children, _SHARE_OF_CHILD, 1.0)
            elif phase.parent is None:
                self._finished_roots = _advance(self._finished_roots, _SHARE_OF_ROOT, 1.0)
            self._update()

    def _update(self) -> None:
        done = self._finished_roots
        for name, phase in self._phases.items():
            if phase.parent is None:
                done = _advance(done, _SHARE_OF_ROOT, self._fraction_of(name))
        self._fraction = max(self._fraction, done)

    def _fraction_of(self, name: str) -> float:
        phase = self._phases[name]
        within_step = phase.finished_children
        for child, candidate in self._phases.items():
            if candidate.parent == name and child != name:
                within_step = _advance(within_step, _SHARE_OF_CHILD, self._fraction_of(child))
        return min(1.0, (phase.completed + within_step) / phase.steps)


@dataclass
class _Phase:
    parent: str | None
    steps: int
    completed: int = 0
    finished_children: float = 0.0


def _advance(done: float, share: float, fraction: float) -> float:
    return done + (1.0 - done) * share * fraction


class Heartbeat:
    """Writes a line into the log every few seconds while entered, however long a phase takes."""

    def __init__(self, describe: Callable[[], str], seconds: float = SECONDS_BETWEEN_LINES) -> None:
        self._describe = describe
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="engine build log", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            _log.info("%s (%.0f s)", self._describe(), time.monotonic() - self._started)
