# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recorder of the demo: instructions to the robot, and all published results, by sim time."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from referdino.msg import FollowStatus, ReferredObjectArray
from sensor_msgs.msg import Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from demo import DemoError
from referdino_core.target import Target
from referdino_ros.following.conversions import seconds_of, targets_from_message

PATIENCE = 120.0
"""Seconds of the wall clock that anything may take."""
_POLL = 0.02


@dataclass
class Moment:
    """Messages that belong to one image.

    Attributes:
        truth: where everything truly is, as `/simulation/truth` says it.
        image: (H, W, 3) uint8 RGB. labels: (H, W) uint8, k for the episode's body k - 1.
        targets: what the model found; None where the image was left out.
    """

    truth: dict[str, Any]
    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    targets: list[Target] | None = None


@dataclass
class Heard:
    """Messages received so far.

    moments: by the stamp of their image, in milliseconds. statuses: by the follower's time.
    """

    moments: dict[int, Moment] = field(default_factory=dict)
    images: dict[int, np.ndarray] = field(default_factory=dict)
    labels: dict[int, np.ndarray] = field(default_factory=dict)
    results: dict[int, list[Target]] = field(default_factory=dict)
    statuses: list[FollowStatus] = field(default_factory=list)
    sayings: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    lifecycle: dict[str, str] = field(default_factory=dict)


class Recorder:
    """A node that instructs the robot and keeps all that is published; a context manager."""

    def __init__(self) -> None:
        self.heard = Heard()
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = node = Node("demo")
        heard = self.heard
        self._instruction = node.create_publisher(String, "/follower/instruction", 10)
        self._play = node.create_publisher(String, "/voice/play", 10)
        self._listen = node.create_client(Trigger, "/voice/listen")
        self._episode = node.create_client(SetParameters, "/simulation/set_parameters")
        node.create_subscription(String, "/simulation/truth", self._take_truth, 50)
        for topic, kept in (
            ("/camera/color/image_raw", heard.images),
            ("/simulation/labels", heard.labels),
        ):
            node.create_subscription(Image, topic, _keeper(kept), 50)
        node.create_subscription(ReferredObjectArray, "/referdino/objects", self._take_result, 50)
        node.create_subscription(FollowStatus, "/follower/status", heard.statuses.append, 100)
        for topic, texts in (("heard", heard.sayings), ("state", heard.states)):
            node.create_subscription(String, f"/follower/{topic}", _noter(texts), 100)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> Recorder:
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

    @property
    def truth(self) -> dict[str, Any]:
        """The newest ground truth; empty before the first."""
        moments = self.heard.moments
        return moments[next(reversed(moments))].truth if moments else {}

    @property
    def now(self) -> float:
        """The robot's time at the newest image, seconds; 0 before the first."""
        return float(self.truth.get("stamp", 0.0))

    @property
    def state(self) -> str:
        """Newest state of the follower, with its reason."""
        return self.heard.states[-1] if self.heard.states else ""

    def say(self, text: str) -> str:
        """Give an instruction; returns what the follower says it understood.

        Raises:
            DemoError: it says nothing.
        """
        before = len(self.heard.sayings)
        self._instruction.publish(String(data=text))
        self.wait_until(lambda: len(self.heard.sayings) > before, f"an answer to {text!r}", 20.0)
        return self.heard.sayings[before]

    def speak(self, recording: Path) -> str:
        """Let the node voice hear a recording; returns what the follower says it understood.

        Raises:
            DemoError: no instruction comes of it.
        """
        before = len(self.heard.sayings)
        done = self._listen.call_async(Trigger.Request())
        self.wait_until(done.done, "the node voice")
        self._play.publish(String(data=str(recording)))
        self.wait_until(
            lambda: len(self.heard.sayings) > before, f"an instruction from {recording.name}", 60.0
        )
        return self.heard.sayings[before]

    def load(self, split: str, index: int) -> None:
        """Put the robot into another episode.

        Raises:
            DemoError: the simulation does not answer.
        """
        request = SetParameters.Request()
        request.parameters = [
            Parameter("split", value=split).to_parameter_msg(),
            Parameter("index", value=index).to_parameter_msg(),
        ]
        done = self._episode.call_async(request)
        self.wait_until(done.done, "the simulation's parameters")
        wanted = (split, index)
        self.wait_until(
            lambda: (self.truth.get("split"), self.truth.get("index")) == wanted,
            f"the episode {split} {index}",
        )

    def wait_until_ready(self, names: Sequence[str], check: Callable[[], Any]) -> None:
        """Wait until the robot and all nodes are there.

        Args:
            names: of the lifecycle nodes.
            check: called again and again; raises where a process has ended.

        Raises:
            DemoError: one of them is not.
        """
        for what, condition in (
            ("the simulation's images", lambda: bool(self.heard.moments)),
            *(
                (f"the node {name} to be active", lambda n=name: self._is_active(n))
                for name in names
            ),
            ("the follower's ear", lambda: self._instruction.get_subscription_count() > 0),
            ("the simulation's parameters", self._episode.service_is_ready),
        ):
            self.wait_until(condition, what, check=check)

    def _is_active(self, name: str) -> bool:
        return self.heard.lifecycle.get(name) == "active"

    def wait_until(
        self,
        condition: Callable[[], Any],
        what: str,
        seconds: float = PATIENCE,
        check: Callable[[], Any] = lambda: None,
    ) -> None:
        """Wait for a condition.

        Raises:
            DemoError: it did not come true in so many seconds of the wall clock.
        """
        end = time.monotonic() + seconds
        while not condition():
            check()
            if time.monotonic() > end:
                raise DemoError(f"Waited {seconds:.0f} s in vain for {what}; see the log.")
            time.sleep(_POLL)

    def moments(self, begin: float, end: float) -> list[Moment]:
        """What belongs to the images of a span of the robot's time, in order."""
        heard, found = self.heard, []
        for stamp, moment in list(heard.moments.items()):
            if begin <= stamp / 1000 <= end:
                moment.image = heard.images.get(stamp)
                moment.labels = heard.labels.get(stamp)
                moment.targets = heard.results.get(stamp)
                found.append(moment)
        return found

    def statuses(self, begin: float, end: float) -> list[FollowStatus]:
        """What the follower said in a span of the robot's time."""
        return [
            one for one in list(self.heard.statuses) if begin <= seconds_of(one.header.stamp) <= end
        ]

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _take_truth(self, message: String) -> None:
        truth = json.loads(message.data)
        self.heard.moments[round(1000 * truth["stamp"])] = Moment(truth)

    def _take_result(self, message: ReferredObjectArray) -> None:
        self.heard.results[_milliseconds(message)] = targets_from_message(message)

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            label = values.get("lifecycle") or values.get("state")
            if label:
                self.heard.lifecycle[status.name.split(":")[0].strip("/")] = label


def _keeper(kept: dict[int, np.ndarray]) -> Callable[[Image], None]:
    def keep(message: Image) -> None:
        pixels = np.frombuffer(bytes(message.data), np.uint8)
        shape = (message.height, message.width, -1)
        kept[_milliseconds(message)] = pixels.reshape(shape).squeeze()

    return keep


def _noter(kept: list[str]) -> Callable[[String], None]:
    return lambda message: kept.append(message.data)


def _milliseconds(message: Any) -> int:
    return round(1000 * seconds_of(message.header.stamp))
