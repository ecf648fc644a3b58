# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings through several workers of Ray, on this machine or on a cluster that sees its files.

A worker that is killed is replaced; its recording goes on from its last snapshot.
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

from referdino_core.batch.batch import Batch, BatchProgress, BatchWatch
from referdino_core.batch.outcomes import MAX_DEATHS, Attempts, RunOutcome, failed
from referdino_core.batch.ray_worker import (
    CONTROL,
    THREADS_VARIABLE,
    ReplayWorker,
    WorkerProgress,
)
from referdino_core.batch.recordings import FoundRecording
from referdino_core.errors import ReferDINOError, RuntimeUnavailable

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_CONNECT = 10.0
_OBJECT_STORE_BYTES = 128 * 2**20  # outcomes are small; Ray would take a third of the memory

_ENVIRONMENT = {
    # Nothing is sent out.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A certain device that the user names stays visible.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # As urgent as this program is, which does the work itself where there is one worker.
    "RAY_worker_niceness": "0",
}

_logger = logging.getLogger("referdino.replay")


@dataclass(frozen=True)
class RayWorkers:
    """Workers as `replay_batch` takes them.

    Attributes:
        count: how many. address: of the cluster; None for one of this machine's own.
    """

    count: int
    address: str | None = None

    def __call__(self, batch: Batch, attempts: Attempts, watch: BatchWatch) -> Iterator[RunOutcome]:
        """Yield the final outcomes as they come; ends early when the watch asks to stop.

        Raises:
            RuntimeUnavailable: there is no such cluster, or its workers cannot load the model.
        """
        with ray_running(self.address, self.count):
            pool = _Pool(batch, attempts, watch, min(self.count, len(batch.recordings)))
            try:
                yield from pool.outcomes()
            finally:
                pool.end()


@contextmanager
def ray_running(address: str | None, workers: int) -> Iterator[None]:
    """Ray, quietly; what runs already in this program is used and left running.

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
    except Exception as error:  # Ray has many ways to say so
        reason = " ".join(str(error).split())
        where = "here" if address is None else f"at {address}"
        raise RuntimeUnavailable(f"Ray cannot be had {where}: {reason}") from error
    # Ray has put its own in place, which would end the program at once.
    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse an address where nobody listens, which Ray itself would try for many minutes.

    Raises:
        RuntimeUnavailable: nobody does.
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
    """The place of one worker.

    Attributes:
        worker: the actor. task: what it works on; None while there is nothing to do.
        recording: of the task; None while the model is being loaded.
        question: after its progress. progress: the newest answer.
        frames_before: of the workers that were killed here.
    """

    worker: Any
    task: Any
    recording: FoundRecording | None = None
    question: Any = None
    progress: WorkerProgress = field(default_factory=WorkerProgress)
    frames_before: int = 0


class _Pool:
    """Keeps workers busy until no recording waits."""

    def __init__(self, batch: Batch, attempts: Attempts, watch: BatchWatch, count: int) -> None:
        self._batch = batch
        self._attempts = attempts
        self._watch = watch
        self._finished = self._deaths_while_loading = 0
        self._stopping = False
        self._threads = _threads_per_worker(count)
        self._gpu_share = _gpu_share(batch.common.model.device, count)
        self._slots = [_Slot(*self._new_worker()) for _ in range(count)]

    def outcomes(self) -> Iterator[RunOutcome]:
        """Final outcomes as they come.

        Raises:
            RuntimeUnavailable: the workers cannot load the model.
        """
        while tasks := [slot.task for slot in self._slots if slot.task is not None]:
            ready, _ = ray.wait(tasks, num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
            if not self._stopping and self._watch.stop_requested():
                self._stopping = True
                self._stop_all()
            for slot in self._slots:
                if slot.task in ready:
                    final = self._settle(slot)
                    if final is not None:
                        self._finished += 1
                        yield final
            for slot in self._slots:
                if slot.task is None:
                    self._begin_next(slot)
            self._tell()

    def end(self) -> None:
        """End all workers; what they were at goes on another time."""
        for slot in self._slots:
            ray.kill(slot.worker)

    def _new_worker(self) -> tuple[Any, Any]:
        """A worker that is loading the model, and that task."""
        settings: dict[str, Any] = {
            "num_cpus": self._threads,
            "num_gpus": self._gpu_share,
            "max_restarts": 0,
            "concurrency_groups": {CONTROL: 1},
        }
        actor: Any = ray.remote(**settings)(ReplayWorker)
        worker = actor.remote()
        wanted = os.environ.get(THREADS_VARIABLE)
        return worker, worker.load.remote(self._batch.model, self._threads, wanted)

    def _begin_next(self, slot: _Slot) -> None:
        if self._stopping:
            return
        slot.recording = self._attempts.take()
        if slot.recording is not None:
            job = self._batch.job(slot.recording)
            slot.task = slot.worker.replay.remote(job, self._batch.with_report)

    def _stop_all(self) -> None:
        """Have every run end after its frame; nobody waits for a model."""
        for slot in self._slots:
            slot.worker.stop.remote()
            if slot.recording is None:
                slot.task = None

    def _settle(self, slot: _Slot) -> RunOutcome | None:
        """Deal with a task that has ended; returns the outcome where it is final."""
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
        return self._attempts.settle(recording, outcome)

    def _replace(
        self, slot: _Slot, recording: FoundRecording | None, error: RayError
    ) -> RunOutcome | None:
        """Put a new worker where one was killed.

        Raises:
            RuntimeUnavailable: that happens while the model is being loaded, again and again.
        """
        # One that is only out of reach must not go on writing.
        ray.kill(slot.worker)
        if recording is None:
            self._deaths_while_loading += 1
            if self._deaths_while_loading >= MAX_DEATHS:
                raise RuntimeUnavailable(
                    "Workers were killed while they loaded the model, probably for want of "
                    "memory; give fewer --workers."
                ) from error
        slot.frames_before += slot.progress.frames
        slot.progress, slot.question = WorkerProgress(), None
        if not self._stopping:
            slot.worker, slot.task = self._new_worker()
        if recording is None or self._stopping:
            return None
        _logger.warning("A worker was killed; %s goes on in another one.", recording.name)
        return self._attempts.died(recording)

    def _tell(self) -> None:
        """Say how far all workers are, as far as they have answered."""
        for slot in self._slots:
            if slot.question is not None and ray.wait([slot.question], timeout=0)[0]:
                with suppress(RayError):  # it was killed, which its task tells as well
                    slot.progress = ray.get(slot.question)
                slot.question = None
            if slot.question is None and slot.task is not None:
                slot.question = slot.worker.progress.remote()
        total = len(self._batch.recordings)
        begun = sum(slot.progress.share for slot in self._slots if slot.recording is not None)
        frames = sum(slot.frames_before + slot.progress.frames for slot in self._slots)
        share = min(1.0, (self._finished + begun) / total)
        self._watch.on_progress(BatchProgress(total, self._finished, share, frames))


def _load_error(error: RayTaskError) -> ReferDINOError:
    cause = error.cause
    if isinstance(cause, ReferDINOError):
        return RuntimeUnavailable(str(cause))
    reason = " ".join(str(cause).split())
    return RuntimeUnavailable(f"A worker cannot load the model: {type(cause).__name__}: {reason}")


def _cores() -> int:
    """CPU cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _threads_per_worker(workers: int) -> int:
    """CPU threads such that all workers together use what there is, and each fits on a machine."""
    machines = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    usable = [int(cores) for cores in machines if cores >= 1]
    if sum(usable) < workers:
        _logger.warning(
            "The cluster has %d CPU cores; %d workers must wait for more.", sum(usable), workers
        )
    return max(1, min([sum(usable) // workers, *usable]))


def _gpu_share(device: str, workers: int) -> float:
    """GPUs that Ray sets aside for each worker; none where the user names a certain one."""
    if device not in ("auto", "cuda"):
        return 0.0
    return min(1.0, ray.cluster_resources().get("GPU", 0.0) / workers)
