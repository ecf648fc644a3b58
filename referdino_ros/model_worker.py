# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The one thread that owns the model: it loads it, changes what it follows and steps it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from referdino_ros.frame_slots import FrameSlots

Owned = TypeVar("Owned")
Frame = TypeVar("Frame")


class WorkerStopped(RuntimeError):
    """The worker ended before it came to a request."""


@dataclass(frozen=True)
class _Request:
    function: Callable[[Any], Any]
    answer: Future[Any]


class ModelWorker(Generic[Owned, Frame]):
    """Runs everything that touches the model in one thread, frames and requests in turn.

    Requests (such as a change of commands) run between two frames, in order, and before the next
    one. So an answered request holds for every frame that is answered after it.

    Args:
        load: makes the object that the thread owns; runs in the thread.
        handle_frames: answers the newest frames, by camera; what it raises goes to `on_error`.
        on_error: told of an exception that `handle_frames` raised; the thread goes on.
        cameras: how many there are.
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
        """Start the thread; `loaded` resolves when the model is there or raises why it is not."""
        self._thread.start()

    def call(self, function: Callable[[Owned], Any]) -> Future[Any]:
        """Run `function` with the owned object between two frames.

        The future holds its result, its exception, or `WorkerStopped`.
        """
        request = _Request(function, Future())
        with self._accepting:
            if self._stopping:
                request.answer.set_exception(WorkerStopped("The model is being unloaded."))
                return request.answer
            self._requests.put(request)
        self.slots.wake()
        return request.answer

    def stop(self) -> None:
        """End the thread after the frame it is at; requests that wait fail. Blocks until then."""
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
            self._answer_requests(owned)
            frames = self.slots.take()
            if frames:
                self._answer_frames(owned, frames)

    def _answer_frames(self, owned: Owned, frames: Mapping[int, Frame]) -> None:
        try:
            self._handle_frames(owned, frames)
        except Exception as error:
            self._on_error(error)

    def _answer_requests(self, owned: Owned) -> None:
        for request in self._pending():
            try:
                result = request.function(owned)
            except Exception as error:
                request.answer.set_exception(error)
            else:
                request.answer.set_result(result)

    def _refuse_requests(self) -> None:
        for request in self._pending():
            request.answer.set_exception(WorkerStopped("The model was unloaded."))

    def _pending(self) -> list[_Request]:
        pending = []
        while True:
            try:
                pending.append(self._requests.get_nowait())
            except queue.Empty:
                return pending
