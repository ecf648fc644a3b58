# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Progress of building an engine: one fraction from TensorRT's nested phases, and log lines."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import SupportsInt

from referdino_core.backends.tensorrt.library import trt
from referdino_core.progress import ProgressMonitor

SECONDS_BETWEEN_LINES = 5.0

# The number of phases is unknown beforehand: a child takes this fraction of what its parent's
# current step still lacks, and a phase without a parent this fraction of the whole.
_FRACTION_OF_CHILD = 0.5
_FRACTION_OF_ROOT = 0.95

_log = logging.getLogger("referdino.tensorrt")


class PhaseTree:
    """The phases in progress of one build; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._finished_roots = 0.0
        self._fraction = 0.0

    @property
    def fraction(self) -> float:
        """Completed fraction of the build, in [0, 1]; it never falls."""
        with self._lock:
            return self._fraction

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase."""
        with self._lock:
            self._phases[name] = _Phase(parent if parent in self._phases else None, max(steps, 1))
            self._update()

    def complete_step(self, name: str, step: int) -> None:
        """Complete a step of a phase, counted from 0."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.completed = max(phase.completed, min(step + 1, phase.steps))
                phase.finished_children = 0.0
                self._update()

    def finish(self, name: str) -> None:
        """End a phase, whether or not all its steps are complete."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is None:
                return
            parent = self._phases.get(phase.parent) if phase.parent is not None else None
            if parent is not None:
                parent.finished_children = _advance(
                    parent.finished_children, _FRACTION_OF_CHILD, 1.0
                )
            elif phase.parent is None:
                self._finished_roots = _advance(self._finished_roots, _FRACTION_OF_ROOT, 1.0)
            self._update()

    def _update(self) -> None:
        done = self._finished_roots
        for name, phase in self._phases.items():
            if phase.parent is None:
                done = _advance(done, _FRACTION_OF_ROOT, self._fraction_of(name))
        self._fraction = max(self._fraction, done)

    def _fraction_of(self, name: str) -> float:
        phase = self._phases[name]
        within_step = phase.finished_children
        for child, candidate in self._phases.items():
            if candidate.parent == name and child != name:
                within_step = _advance(within_step, _FRACTION_OF_CHILD, self._fraction_of(child))
        return min(1.0, (phase.completed + within_step) / phase.steps)


@dataclass
class _Phase:
    parent: str | None
    steps: int
    completed: int = 0
    finished_children: float = 0.0


def _advance(done: float, weight: float, fraction: float) -> float:
    return done + (1.0 - done) * weight * fraction


class Heartbeat:
    """Context manager that logs a line every few seconds, however long a phase takes."""

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


class BuildObserver:
    """Reports TensorRT's progress of one build to a monitor.

    Attributes:
        failure: what the monitor's callback raised; None if nothing.
    """

    def __init__(self, monitor: ProgressMonitor) -> None:
        self.failure: BaseException | None = None
        self._tree = PhaseTree()
        self._phase = ""
        self._monitor = monitor
        self._reporting = threading.Lock()
        self._reported: tuple[int, str] = (-1, "")

    @property
    def text(self) -> str:
        """Percentage and phase, for the log."""
        return f"{self._tree.fraction:.0%}, {self._phase or 'starting'}"

    def for_tensorrt(self) -> trt.IProgressMonitor:
        """The monitor that TensorRT calls from any of its threads; it must not raise."""
        observer = self

        class Monitor(trt.IProgressMonitor):
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(
                self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt
            ) -> None:
                observer._tree.start(phase_name, parent_phase, int(num_steps))
                observer._report(phase_name)

            def phase_finish(self, phase_name: str) -> None:
                observer._tree.finish(phase_name)
                observer._report(None)

            def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
                observer._tree.complete_step(phase_name, int(step))
                observer._report(phase_name)
                return not observer._monitor.cancelled.is_set() and observer.failure is None

        return Monitor()

    def _report(self, phase: str | None) -> None:
        with self._reporting:
            self._phase = phase or self._phase
            state = (int(1000 * self._tree.fraction), self._phase)
            if self.failure is not None or state == self._reported:
                return
            self._reported = state
            try:
                self._monitor.report(self._tree.fraction, phase=self._phase)
            except BaseException as error:
                self.failure = error
