# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What runs in a process of Ray's: a worker that keeps the model loaded.

PyTorch is imported by the methods: how many threads it begins with is settled before.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray

from referdino_core.replay.opening import ReplayJob
from referdino_core.session.model_choice import ModelChoice

if TYPE_CHECKING:
    from referdino_core.batch.outcomes import RunOutcome
    from referdino_core.session.model_choice import LoadedModel


class RunCounter:
    """Follows one run after the other.

    Attributes:
        frames: of all runs so far.
        share: of the present run that is behind us, 0 to 1; 0 where nobody knows.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.share = 0.0
        self._total: int | None = None

    def begin(self, total: int | None) -> None:
        """A run of so many frames begins."""
        self._total, self.share = total, 0.0

    def count(self, done: int) -> None:
        """So many frames of the present run are done."""
        self.frames += 1
        # More frames than announced do not make more than one run.
        self.share = min(1.0, done / self._total) if self._total else 0.0

    def end(self) -> None:
        """The run has ended."""
        self.share = 0.0


CONTROL = "control"
THREADS_VARIABLE = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class WorkerProgress:
    """How far a worker is.

    Attributes:
        frames: that it has gone through since it began. share: of its present run, 0 to 1.
    """

    frames: int = 0
    share: float = 0.0


class ReplayWorker:
    """Replays one recording after the other; answers questions meanwhile."""

    def __init__(self) -> None:
        self._loaded: LoadedModel | None = None
        self._counter = RunCounter()
        self._stop = threading.Event()

    def load(self, choice: ModelChoice, threads: int, wanted: str | None) -> None:
        """Load the model.

        Args:
            threads: that the worker may use at most.
            wanted: OMP_NUM_THREADS where the user has set it.

        Raises:
            ReferDINOError: weights, device or runtime are not to be had.
        """
        # Ray sets the variable by itself, which must not pass for the user's wish.
        if wanted is None:
            os.environ.pop(THREADS_VARIABLE, None)
        else:
            os.environ[THREADS_VARIABLE] = wanted
        import cv2
        import torch

        from referdino_core.media.sources import quiet_opencv
        from referdino_core.session.model_choice import load

        quiet_opencv()
        cv2.setNumThreads(threads)
        torch.set_num_threads(min(threads, torch.get_num_threads()))
        self._loaded = load(choice)

    def replay(self, job: ReplayJob, with_report: bool) -> RunOutcome | None:
        """Replay a recording; None where the worker was asked to stop meanwhile."""
        from referdino_core.batch.one_run import run_recording
        from referdino_core.replay.progress import RunInterrupted, RunWatch

        assert self._loaded is not None
        counter = self._counter
        watch = RunWatch(counter.begin, counter.count, self._stop.is_set)
        try:
            return run_recording(job, self._loaded, watch, with_report)
        except RunInterrupted:
            return None
        finally:
            counter.end()

    @ray.method(concurrency_group=CONTROL)
    def progress(self) -> WorkerProgress:
        """How far the worker is."""
        return WorkerProgress(self._counter.frames, self._counter.share)

    @ray.method(concurrency_group=CONTROL)
    def stop(self) -> None:
        """End the present run after its frame."""
        self._stop.set()
