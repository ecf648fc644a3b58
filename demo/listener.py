# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's own node: it collects the answers and watches the node's health."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from types import TracebackType

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from referdino.msg import ReferredObjectArray

from referdino_ros.private_graph import NODE, OBJECTS_TOPIC


@dataclass(frozen=True)
class Answer:
    """What the node published about one image.

    Attributes:
        stamp: of the image, nanoseconds of the clock.
        received: when the answer arrived, nanoseconds of the clock.
        message: the answer.
    """

    stamp: int
    received: int
    message: ReferredObjectArray


@dataclass(frozen=True)
class NodeStatus:
    """What /diagnostics says of the node.

    Attributes:
        state: of its lifecycle; empty before the first message.
        failure: why the model could not be loaded, or empty.
    """

    state: str = ""
    failure: str = ""


class Listener:
    """Listens while it is entered, in a thread of its own."""

    def __init__(self) -> None:
        self._answers: dict[int, Answer] = {}
        self.status = NodeStatus()
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("demo")
        self._node.create_subscription(ReferredObjectArray, f"/{OBJECTS_TOPIC}", self._collect, 100)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._watch, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)

    @property
    def answers(self) -> dict[int, Answer]:
        """All answers so far, by the stamps of their images."""
        return dict(self._answers)

    @property
    def answer_count(self) -> int:
        """How many answers came so far."""
        return len(self._answers)

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
        self._answers[stamp] = Answer(stamp, received, message)

    def _watch(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if not status.name.startswith(f"{NODE}:"):
                continue
            values = {entry.key: entry.value for entry in status.values}
            state = values.get("state", "")
            failed = status.level == DiagnosticStatus.ERROR and state == "unconfigured"
            self.status = NodeStatus(state, status.message if failed else "")
