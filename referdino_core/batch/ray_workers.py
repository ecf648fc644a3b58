# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Replay by several Ray workers, on this machine or on a cluster with access to its files.

A worker that is killed is replaced; its recording resumes from its last snapshot.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from referdino_core.batch.batch import Batch, batch_progress
from referdino_core.batch.outcomes import MAX_DEATHS, Attempts, RunOutcome, failed
from referdino_core.batch.ray_worker import (
    CONTROL,
    THREADS_VARIABLE,
    ReplayWorker,
    WorkerProgress,
)
from referdino_core.batch.recordings import FoundRecording
from referdino_core.errors import ReferDINOError, RuntimeUnavailable
from referdino_core.progress import ProgressMonitor

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_CONNECT = 10.0
_OBJECT_STORE_BYTES = 128 * 2**20  # outcomes are small; Ray would take a third of the memory

_ENVIRONMENT = {
    # Nothing is sent out.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A specific device that the user names stays visible.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # The same priority as this program, which does the work itself if there is one worker.
    "RAY_worker_niceness": "0",
}

_logger = logging.getLogger("referdino.replay")


@dataclass(frozen=True)
class RayWorkers:
    """Ray workers, callable as `Workers` of `replay_batch`.

    Attributes:
        count: number of workers. address: of the cluster; None to start one on this machine.
    """

    count: int
    address: str | None = None

    def __call__(
        self, batch: Batch, attempts: Attempts, monitor: ProgressMonitor
    ) -> Iterator[RunOutcome]:
        """Yield the final outcomes as they come; ends early on cancellation.

        Raises:
            RuntimeUnavailable: the cluster is unreachable, or its workers cannot load the model.
        """
        with ray_running(self.address, self.count):
            pool = _Pool(batch, attempts, monitor, min(self.count, len(batch.recordings)))
            try:
                yield from pool.outcomes()
            finally:
                pool.end()


@contextmanager
def ray_running(address: str | None, workers: int) -> Iterator[None]:
    """Ray, initialised quietly; an instance that already runs in this program is used and kept.

    Raises:
        RuntimeUnavailable: there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        settings["num_cpus"] = max(workers, _cores())
        settings["include_dashboard"] = False
        settings["object_store_memory"] = _OBJECT_STORE_BYTES
    else:
        _check_reachable(address)
        settings["address"] = address
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**settings)
    except Exception as error:  # Ray raises errors of many types
        reason = " ".join(str(error).split())
        where = "start here" if address is None else f"connect to {address}"
        raise RuntimeUnavailable(f"Ray cannot {where}: {reason}") from error
    # Ray has installed its own handler, which would end the program at once.
    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse an unreachable address, which Ray itself would try for many minutes.

    Raises:
        RuntimeUnavailable: nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # a name such as auto, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise RuntimeUnavailable(
            f"There is no Ray cluster at {address}: {error}; start one with: ray start --head"
        ) from error


@dataclass
class _Slot:
    """One worker and its current task.

    Attributes:
        worker: the actor. task: its current task; None while it is idle.
        recording: of the task; None while the model is being loaded.
        request: pending request for its progress. progress: the latest response.
        frames_before: frames processed by killed workers in this slot.
    """

    worker: Any
    task: Any
    recording: FoundRecording | None = None
    request: Any = None
    progress: WorkerProgress = field(default_factory=WorkerProgress)
    frames_before: int = 0


class _Pool:
    """Workers that are kept busy until the queue is empty."""

    def __init__(
        self, batch: Batch, attempts: Attempts, monitor: ProgressMonitor, count: int
    ) -> None:
        self._batch = batch
        self._attempts = attempts
        self._monitor = monitor
        self._finished = self._deaths_while_loading = 0
        self._stopping = False
        self._threads = _threads_per_worker(count)
        self._gpu_fraction = _gpu_fraction(batch.common.model.device, count)
        self._slots = [_Slot(*self._new_worker()) for _ in range(count)]

    def outcomes(self) -> Iterator[RunOutcome]:
        """Final outcomes as they come.

        Raises:
            RuntimeUnavailable: the workers cannot load the model.
        """
        while tasks := [slot.task for slot in self._slots if slot.task is not None]:
            ready, _ = ray.wait(tasks, num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
            if not self._stopping and self._monitor.cancelled.is_set():
                self._stopping = True
                self._stop_all()
            for slot in self._slots:
                if slot.task in ready:
                    final = self._finish_task(slot)
                    if final is not None:
                        self._finished += 1
                        yield final
            for slot in self._slots:
                if slot.task is None:
                    self._begin_next(slot)
            self._report()

    def end(self) -> None:
        """Kill all workers; runs in progress can be resumed later."""
        for slot in self._slots:
            ray.kill(slot.worker)

    def _new_worker(self) -> tuple[Any, Any]:
        """A new worker, and its task of loading the model."""
        settings: dict[str, Any] = {
            "num_cpus": self._threads,
            "num_gpus": self._gpu_fraction,
            "max_restarts": 0,
            "concurrency_groups": {CONTROL: 1},
        }
        actor: Any = ray.remote(**settings)(ReplayWorker)
        worker = actor.remote()
        wanted = os.environ.get(THREADS_VARIABLE)
        batch = self._batch
        loading = worker.load.remote(batch.model, batch.common.inference, self._threads, wanted)
        return worker, loading

    def _begin_next(self, slot: _Slot) -> None:
        if self._stopping:
            return
        slot.recording = self._attempts.take()
        if slot.recording is not None:
            job = self._batch.job(slot.recording)
            slot.task = slot.worker.replay.remote(job, self._batch.with_report)

    def _stop_all(self) -> None:
        """Let every run end after its current frame, without waiting for models to load."""
        for slot in self._slots:
            slot.worker.stop.remote()
            if slot.recording is None:
                slot.task = None

    def _finish_task(self, slot: _Slot) -> RunOutcome | None:
        """Handle a finished task; returns the outcome if it is final."""
        task, recording = slot.task, slot.recording
        slot.task = slot.recording = None
        try:
            outcome = ray.get(task)
        except RayTaskError as error:
            if recording is None:
                raise _load_error(error) from error
            outcome = failed(recording, f"unexpected {type(error.cause).__name__}: {error.cause}")
        except RayError as error:
            return self._replace(slot, recording, error)
        if recording is None or outcome is None:
            return None
        return self._attempts.conclude(recording, outcome)

    def _replace(
        self, slot: _Slot, recording: FoundRecording | None, error: RayError
    ) -> RunOutcome | None:
        """Replace a worker that was killed.

        Raises:
            RuntimeUnavailable: workers are killed repeatedly while loading the model.
        """
        # One that is merely unreachable must not go on writing.
        ray.kill(slot.worker)
        if recording is None:
            self._deaths_while_loading += 1
            if self._deaths_while_loading >= MAX_DEATHS:
                raise RuntimeUnavailable(
                    "Workers were killed while they loaded the model, probably for want of "
                    "memory; give fewer --workers."
                ) from error
        slot.frames_before += slot.progress.frames
        slot.progress, slot.request = WorkerProgress(), None
        if not self._stopping:
            slot.worker, slot.task = self._new_worker()
        if recording is None or self._stopping:
            return None
        _logger.warning("A worker was killed; %s resumes in another one.", recording.name)
        return self._attempts.died(recording)

    def _report(self) -> None:
        """Report the progress of all workers, as far as they have responded."""
        for slot in self._slots:
            if slot.request is not None and ray.wait([slot.request], timeout=0)[0]:
                with suppress(RayError):  # it was killed, which its task reports as well
                    slot.progress = ray.get(slot.request)
                slot.request = None
            if slot.request is None and slot.task is not None:
                slot.request = slot.worker.progress.remote()
        total = len(self._batch.recordings)
        running = (slot.progress.fraction for slot in self._slots if slot.recording is not None)
        frames = sum(slot.frames_before + slot.progress.frames for slot in self._slots)
        progress = batch_progress(total, self._finished, sum(running), frames)
        self._monitor.on_progress(progress)


def _load_error(error: RayTaskError) -> ReferDINOError:
    cause = error.cause
    if isinstance(cause, ReferDINOError):
        return RuntimeUnavailable(str(cause))
    reason = " ".join(str(cause).split())
    return RuntimeUnavailable(f"A worker cannot load the model: {type(cause).__name__}: {reason}")


def _cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads_per_worker(workers: int) -> int:
    """CPU threads per worker: together they use all cores, and each fits on one machine."""
    machines = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    usable = [int(cores) for cores in machines if cores >= 1]
    if sum(usable) < workers:
        _logger.warning(
            "The cluster has %d CPU cores; %d workers must wait for more.", sum(usable), workers
        )
    return max(1, min([sum(usable) // workers, *usable]))


def _gpu_fraction(device: str, workers: int) -> float:
    """GPUs that Ray reserves per worker; none if the user names a specific device."""
    if device not in ("auto", "cuda"):
        return 0.0
    return min(1.0, ray.cluster_resources().get("GPU", 0.0) / workers)
