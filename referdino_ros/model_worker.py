# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that owns the model: it loads the model, processes frames and runs requests."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Owned = TypeVar("Owned")
Frame = TypeVar("Frame")


class FrameSlots(Generic[Frame]):
    """Slots for the newest frame of every camera, with one consumer.

    A frame that was not taken before the next one of its camera is replaced and counted. So the age
    of a taken frame is bounded by the consumer's processing time, whatever the rates.

    Args:
        cameras: number of cameras, which are numbered from 0.
        on_replace: called with a replaced frame and its replacement; must not block.
    """

    def __init__(
        self, cameras: int = 1, on_replace: Callable[[Frame, Frame], None] | None = None
    ) -> None:
        self._on_replace = on_replace
        self._condition = threading.Condition()
        self._frames: dict[int, Frame] = {}
        self._woken = False
        self._received = [0] * cameras
        self._replaced = [0] * cameras

    def received(self, camera: int) -> int:
        """Number of frames of a camera so far."""
        return self._received[camera]

    def replaced(self, camera: int) -> int:
        """Number of its frames that were replaced, or removed by `clear`, before being taken."""
        return self._replaced[camera]

    def put(self, camera: int, frame: Frame) -> None:
        """Put a frame of a camera; never waits for the consumer."""
        with self._condition:
            self._received[camera] += 1
            waiting = self._frames.get(camera)
            if waiting is not None:
                self._replaced[camera] += 1
                if self._on_replace is not None:
                    self._on_replace(waiting, frame)
            self._frames[camera] = frame
            self._condition.notify()

    def clear(self) -> None:
        """Remove the waiting frames."""
        with self._condition:
            for camera in self._frames:
                self._replaced[camera] += 1
            self._frames.clear()

    def wake(self) -> None:
        """Make the current or next `take` return even without a frame."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def take(self) -> dict[int, Frame]:
        """Wait for the newest frames, by camera; returns none after `wake`, which keeps them."""
        with self._condition:
            self._condition.wait_for(lambda: self._woken or bool(self._frames))
            if self._woken:
                self._woken = False
                return {}
            frames, self._frames = self._frames, {}
            return dict(sorted(frames.items()))


class WorkerStopped(RuntimeError):
    """The worker stopped before it ran a request."""


@dataclass(frozen=True)
class _Request:
    function: Callable[[Any], Any]
    future: Future[Any]


class ModelWorker(Generic[Owned, Frame]):
    """Thread that owns the model and processes frames and requests alternately.

    Requests (such as a change of commands) run in order, between two frames and before the next
    one. So a completed request applies to every frame processed after it.

    Args:
        load: creates the owned object; runs in the thread.
        handle_frames: processes the newest frames, by camera.
        on_error: called with an exception of `handle_frames`; the thread continues.
        cameras: number of cameras.
        on_replace: see `FrameSlots`.
    """

    def __init__(
        self,
        load: Callable[[], Owned],
        handle_frames: Callable[[Owned, Mapping[int, Frame]], None],
        on_error: Callable[[Exception], None],
        cameras: int = 1,
        on_replace: Callable[[Frame, Frame], None] | None = None,
    ) -> None:
        self.slots: FrameSlots[Frame] = FrameSlots(cameras, on_replace)
        self.loaded: Future[None] = Future()
        self._load = load
        self._handle_frames = handle_frames
        self._on_error = on_error
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._accepting = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="referdino model", daemon=True)

    def start(self) -> None:
        """Start the thread; the future `loaded` resolves when the model is loaded, or raises."""
        self._thread.start()

    def call(self, function: Callable[[Owned], Any]) -> Future[Any]:
        """Run `function` with the owned object between two frames.

        The future receives its result, its exception, or `WorkerStopped`.
        """
        request = _Request(function, Future())
        with self._accepting:
            if self._stopping:
                request.future.set_exception(WorkerStopped("The model is being unloaded."))
                return request.future
            self._requests.put(request)
        self.slots.wake()
        return request.future

    def stop(self) -> None:
        """Stop the thread after its current frame and wait for it; pending requests fail."""
        with self._accepting:
            self._stopping = True
        self.slots.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._refuse_requests()

    def _run(self) -> None:
        try:
            owned = self._load()
        except BaseException as error:
            self.loaded.set_exception(error)
            return
        self.loaded.set_result(None)
        while not self._stopping:
            self._run_requests(owned)
            frames = self.slots.take()
            if frames:
                self._process_frames(owned, frames)

    def _process_frames(self, owned: Owned, frames: Mapping[int, Frame]) -> None:
        try:
            self._handle_frames(owned, frames)
        except Exception as error:
            self._on_error(error)

    def _run_requests(self, owned: Owned) -> None:
        for request in self._pending():
            try:
                result = request.function(owned)
            except Exception as error:
                request.future.set_exception(error)
            else:
                request.future.set_result(result)

    def _refuse_requests(self) -> None:
        for request in self._pending():
            request.future.set_exception(WorkerStopped("The model was unloaded."))

    def _pending(self) -> list[_Request]:
        pending = []
        while True:
            try:
                pending.append(self._requests.get_nowait())
            except queue.Empty:
                return pending
