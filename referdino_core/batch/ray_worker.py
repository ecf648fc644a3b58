# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ray actor that replays recordings with a model that stays loaded.

PyTorch is imported inside the methods, after the number of its threads has been set.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import ray

from referdino_core.batch.outcomes import WorkerProgress
from referdino_core.errors import Cancelled
from referdino_core.progress import ProgressMonitor

if TYPE_CHECKING:
    from referdino_core.batch.outcomes import RunOutcome
    from referdino_core.replay.opening import ReplayJob
    from referdino_core.session.model_choice import LoadedEngine, ModelChoice

CONTROL = "control"
THREADS_VARIABLE = "OMP_NUM_THREADS"


class ReplayWorker:
    """Actor that replays one recording after another, and reports progress meanwhile."""

    def __init__(self) -> None:
        self._loaded: LoadedEngine | None = None
        self._progress = WorkerProgress()
        self._cancelled = threading.Event()

    def load(self, choice: ModelChoice, inference: str, threads: int, wanted: str | None) -> None:
        """Load the model.

        Args:
            threads: that the worker may use at most.
            wanted: OMP_NUM_THREADS as set by the user, or None.

        Raises:
            ReferDINOError: weights, device or runtime are not available.
        """
        # Ray sets the variable itself, which must not be mistaken for the user's setting.
        if wanted is None:
            os.environ.pop(THREADS_VARIABLE, None)
        else:
            os.environ[THREADS_VARIABLE] = wanted
        import cv2
        import torch

        from referdino_core.media.sources import quiet_opencv
        from referdino_core.replay.whole_clip import load_for_replay

        quiet_opencv()
        cv2.setNumThreads(threads)
        torch.set_num_threads(min(threads, torch.get_num_threads()))
        self._loaded = load_for_replay(choice, inference)

    def replay(self, job: ReplayJob, with_report: bool) -> RunOutcome | None:
        """Replay a recording; None if the worker was stopped meanwhile."""
        from referdino_core.batch.one_run import run_recording

        assert self._loaded is not None
        monitor = ProgressMonitor(self._progress.update, self._cancelled)
        try:
            return run_recording(job, self._loaded, monitor, with_report)
        except Cancelled:
            return None
        finally:
            self._progress.end_run()

    @ray.method(concurrency_group=CONTROL)
    def progress(self) -> WorkerProgress:
        """The worker's progress so far."""
        return self._progress

    @ray.method(concurrency_group=CONTROL)
    def stop(self) -> None:
        """Cancel the current run; it ends after the current frame."""
        self._cancelled.set()
