# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Collection of a demo's results, and progress of its stream."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from referdino.msg import ReferredObjectArray
from tqdm import tqdm

from demo import DemoError
from demo.graph import NODE, OBJECTS_TOPIC
from demo.material import Material
from demo.processes import DemoProcess


@dataclass(frozen=True)
class Result:
    """The node's result of one image.

    Attributes:
        stamp: of the image, nanoseconds of the clock.
        received: arrival of the result, nanoseconds of the clock.
        message: the result.
    """

    stamp: int
    received: int
    message: ReferredObjectArray


@dataclass(frozen=True)
class NodeStatus:
    """State of the node according to /diagnostics.

    Attributes:
        state: lifecycle state; "" before the first message.
        failure: why the model could not be loaded, or "".
    """

    state: str = ""
    failure: str = ""


class Listener:
    """Subscriber to results and diagnostics, in a separate thread while it is entered."""

    def __init__(self) -> None:
        self._results: dict[int, Result] = {}
        self.status = NodeStatus()
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("demo")
        self._node.create_subscription(ReferredObjectArray, f"/{OBJECTS_TOPIC}", self._collect, 100)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._watch, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)

    @property
    def results(self) -> dict[int, Result]:
        """All results so far, by the stamps of their images."""
        return dict(self._results)

    @property
    def result_count(self) -> int:
        """Number of results so far."""
        return len(self._results)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        rclpy.try_shutdown()
        self._thread.join()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _collect(self, message: ReferredObjectArray) -> None:
        received = self._node.get_clock().now().nanoseconds
        stamp = Time.from_msg(message.header.stamp).nanoseconds
        self._results[stamp] = Result(stamp, received, message)

    def _watch(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(f"{NODE}:"):
                continue
            values = {entry.key: entry.value for entry in status.values}
            state = values.get("state", "")
            failed = status.level == DiagnosticStatus.ERROR and state == "unconfigured"
            self.status = NodeStatus(state, status.message if failed else "")


LOADING_PATIENCE = 600.0
"""Maximum seconds until the node is active."""
RESULT_PATIENCE = 60.0
"""Seconds without a result after which no more are expected."""
_POLL = 0.1
_SECONDS_BETWEEN_LINES = 5.0


def say(message: str) -> None:
    """Print a line on the demo's progress."""
    tqdm.write(f"demo: {message}", file=sys.stderr)


def wait_until_active(node: DemoProcess, listener: Listener) -> None:
    """Wait until the node is active, according to its diagnostics.

    Raises:
        DemoError: it exited, or could not load its model.
    """
    began = said = time.monotonic()
    while listener.status.state != "active":
        _require_running(node)
        if listener.status.failure:
            raise DemoError(_configure_failure(listener.status.failure))
        now = time.monotonic()
        if now - began > LOADING_PATIENCE:
            raise DemoError(f"The node was not active after {LOADING_PATIENCE:.0f} s; see the log.")
        if now - said > _SECONDS_BETWEEN_LINES:
            said = now
            say(f"the node is loading its model ({now - began:.0f} s)")
        time.sleep(_POLL)


def wait_for_first_command(node: DemoProcess, commander: DemoProcess) -> None:
    """Wait until the commander has published.

    Raises:
        DemoError: a process exited before.
    """
    while not commander.publications:
        _require_running(node)
        if commander.has_finished():
            return
        time.sleep(_POLL)


def follow_stream(
    material: Material,
    node: DemoProcess,
    commander: DemoProcess,
    camera: DemoProcess,
    listener: Listener,
) -> None:
    """Show the progress until the last image is processed, or none was for a minute.

    Raises:
        DemoError: a process exited too early, or with an error.
    """
    expected = max(1, round(material.seconds * material.frame_rate))
    interval = _POLL if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
    last_change = time.monotonic()
    with tqdm(
        total=expected,
        desc="demo: frames processed",
        unit="frame",
        file=sys.stderr,
        mininterval=interval,
    ) as bar:
        while True:
            _require_running(node)
            commander.has_finished()
            played = camera.has_finished()
            processed = listener.result_count
            if processed > bar.n:
                last_change = time.monotonic()
                text = material.commands[len(commander.publications) - 1].text
                bar.set_postfix_str(f'"{text}"', refresh=False)
                bar.update(processed - bar.n)
            frames = camera.publications
            if played and (not frames or frames[-1].stamp in listener.results):
                return
            if not frames:
                last_change = time.monotonic()
            elif time.monotonic() - last_change > RESULT_PATIENCE:
                return
            time.sleep(_POLL)


def _require_running(node: DemoProcess) -> None:
    if node.has_finished():
        raise DemoError("The node exited unexpectedly; see the log.")


def _configure_failure(message: str) -> str:
    """The node's message without its advice, which is for nodes started by hand."""
    reason = message.removeprefix("Cannot configure: ").partition(" Correct the parameters")[0]
    return f"The node could not load its model: {reason}"
