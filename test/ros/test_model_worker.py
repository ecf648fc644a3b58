# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Newest frame wins, and the one thread that owns the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import pytest
from ros_harness import PATIENCE, wait_until

from referdino_ros.model_worker import FrameSlots, ModelWorker, WorkerStopped

pytestmark = pytest.mark.ros


def test_the_newest_frame_replaces_the_one_that_waits() -> None:
    slots: FrameSlots[int] = FrameSlots()
    for frame in range(5):
        slots.put(0, frame)

    assert slots.take() == {0: 4}
    assert (slots.received(0), slots.replaced(0)) == (5, 4)


def test_taken_frames_are_not_counted_as_replaced() -> None:
    slots: FrameSlots[int] = FrameSlots()
    taken = []
    for frame in range(3):
        slots.put(0, frame)
        taken.append(slots.take())

    assert taken == [{0: 0}, {0: 1}, {0: 2}]
    assert (slots.received(0), slots.replaced(0)) == (3, 0)


def test_replaced_frames_are_reported_to_the_callback() -> None:
    pairs: list[tuple[int, int]] = []
    slots: FrameSlots[int] = FrameSlots(1, lambda old, new: pairs.append((old, new)))
    for frame in range(3):
        slots.put(0, frame)
    slots.take()
    slots.put(0, 3)

    assert pairs == [(0, 1), (1, 2)]


def test_a_cleared_frame_is_counted_and_gone() -> None:
    slots: FrameSlots[int] = FrameSlots()
    slots.put(0, 1)
    slots.clear()
    slots.clear()
    slots.put(0, 2)

    assert slots.take() == {0: 2}
    assert (slots.received(0), slots.replaced(0)) == (2, 1)


def test_wake_returns_without_taking_the_frame() -> None:
    slots: FrameSlots[int] = FrameSlots()
    slots.put(0, 1)
    slots.wake()

    assert slots.take() == {}
    assert slots.take() == {0: 1}


def test_take_waits_for_a_frame_of_another_thread() -> None:
    slots: FrameSlots[str] = FrameSlots()
    taken: list[dict[int, str]] = []
    consumer = threading.Thread(target=lambda: taken.append(slots.take()))
    consumer.start()
    consumer.join(0.05)
    assert consumer.is_alive()

    slots.put(0, "late")
    consumer.join(PATIENCE)

    assert taken == [{0: "late"}]


def test_every_camera_has_a_frame_of_its_own() -> None:
    pairs: list[tuple[str, str]] = []
    slots: FrameSlots[str] = FrameSlots(3, lambda old, new: pairs.append((old, new)))
    for camera, frame in ((2, "c1"), (0, "a1"), (2, "c2"), (1, "b1"), (0, "a2")):
        slots.put(camera, frame)

    assert pairs == [("c1", "c2"), ("a1", "a2")]
    assert list(slots.take().items()) == [(0, "a2"), (1, "b1"), (2, "c2")]
    slots.put(1, "b2")
    assert slots.take() == {1: "b2"}
    assert [slots.received(camera) for camera in range(3)] == [2, 2, 2]
    assert [slots.replaced(camera) for camera in range(3)] == [1, 0, 1]


class Gate:
    """Stands for a model that needs a while: frames wait until the test opens it."""

    def __init__(self) -> None:
        self.processed: list[int] = []
        self.entered = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)

    def process(self, model: list[str], frames: Mapping[int, int]) -> None:
        (frame,) = frames.values()
        self.entered.release()
        self.opened.acquire()
        if frame < 0:
            raise ValueError(f"bad frame {frame}")
        self.processed.append(frame)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def worker(gate: Gate, errors: list[Exception]) -> Iterator[ModelWorker[list[str], int]]:
    worker = ModelWorker(lambda: ["model"], gate.process, errors.append)
    worker.start()
    worker.loaded.result(PATIENCE)
    yield worker
    for _ in range(100):
        gate.opened.release()
    worker.stop()


def test_overload_processes_first_and_newest_and_counts_the_rest(
    worker: ModelWorker[list[str], int], gate: Gate
) -> None:
    worker.slots.put(0, 0)
    assert gate.entered.acquire(timeout=PATIENCE)
    for frame in range(1, 100):  # the camera is a hundred times faster than the model
        worker.slots.put(0, frame)
    gate.opened.release()
    assert gate.entered.acquire(timeout=PATIENCE)
    gate.opened.release()
    wait_until(lambda: len(gate.processed) == 2, "the second result")

    assert gate.processed == [0, 99]
    assert (worker.slots.received(0), worker.slots.replaced(0)) == (100, 98)


def test_requests_run_between_frames_before_the_next_one(
    worker: ModelWorker[list[str], int], gate: Gate
) -> None:
    worker.slots.put(0, 1)
    assert gate.entered.acquire(timeout=PATIENCE)
    worker.slots.put(0, 2)
    seen = worker.call(lambda model: list(gate.processed))
    also = worker.call(lambda model: model[0])
    assert not seen.done()
    gate.opened.release()

    assert seen.result(PATIENCE) == [1]
    assert also.result(PATIENCE) == "model"
    gate.opened.release()
    wait_until(lambda: gate.processed == [1, 2], "the frame after the requests")


def test_a_failing_frame_is_reported_and_the_next_one_processed(
    worker: ModelWorker[list[str], int], gate: Gate, errors: list[Exception]
) -> None:
    for frame in (-1, 7):
        gate.opened.release()
        worker.slots.put(0, frame)
        assert gate.entered.acquire(timeout=PATIENCE)
    wait_until(lambda: gate.processed == [7], "the good frame")

    assert [str(error) for error in errors] == ["bad frame -1"]


def test_a_failing_request_raises_at_the_caller_alone(
    worker: ModelWorker[list[str], int],
) -> None:
    def fail(model: list[str]) -> None:
        raise ValueError("no such command")

    with pytest.raises(ValueError, match="no such command"):
        worker.call(fail).result(PATIENCE)
    assert worker.call(len).result(PATIENCE) == 1


def test_a_stopped_worker_refuses_requests_instead_of_hanging(gate: Gate) -> None:
    worker = ModelWorker(lambda: ["model"], gate.process, print)
    worker.start()
    worker.loaded.result(PATIENCE)
    worker.slots.put(0, 1)
    assert gate.entered.acquire(timeout=PATIENCE)
    waiting = worker.call(len)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    wait_until(lambda: worker.call(len).done(), "the worker to refuse")
    gate.opened.release()
    stopping.join(PATIENCE)

    assert not stopping.is_alive()
    for future in (waiting, worker.call(len)):
        with pytest.raises(WorkerStopped):
            future.result(PATIENCE)


def test_a_model_that_cannot_be_loaded_raises_at_loaded() -> None:
    def fail() -> list[str]:
        raise OSError("no such checkpoint")

    worker = ModelWorker(fail, lambda model, frame: None, print)
    worker.start()

    with pytest.raises(OSError, match="no such checkpoint"):
        worker.loaded.result(PATIENCE)
    worker.stop()
