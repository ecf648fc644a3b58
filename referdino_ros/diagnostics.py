# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Health of the node: stream statistics, clock monitoring, and messages on /diagnostics."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import ROSClock
from rclpy.node import Node

from referdino_ros.command_input import quoted
from referdino_ros.error_log import ReportedError

if TYPE_CHECKING:
    from referdino_core.backends.backend import Preparation
    from referdino_core.session.peer_cameras import AnySession


@dataclass(frozen=True)
class StreamReport:
    """Statistics of the stream over the last seconds; delays are None without results.

    Attributes:
        rate: processed images per second.
        latency: median seconds from the arrival of an image to the publication of its result.
        latency_worst: the maximum of them.
        inference: median seconds of inference per image.
        image_age: median seconds from an image's stamp to the publication of its result, by the
            node's clock; meaningful if the camera's clock agrees.
        processed: number of images processed since the start.
    """

    rate: float = 0.0
    latency: float | None = None
    latency_worst: float | None = None
    inference: float | None = None
    image_age: float | None = None
    processed: int = 0


@dataclass(frozen=True)
class _Timing:
    time: float
    latency: float
    inference: float
    image_age: float | None


class StreamStatistics:
    """Accumulator of the delays of processed images; thread-safe.

    Args:
        period: seconds that a report covers.
        clock: monotonic clock in seconds.
    """

    def __init__(self, period: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._timings: deque[_Timing] = deque()
        self._processed = 0
        self._start = clock()

    def record(self, latency: float, inference: float, image_age: float | None) -> None:
        """Add a processed image; all in seconds, see `StreamReport`.

        Args:
            image_age: None if the image's stamp is not of the node's clock.
        """
        now = self._clock()
        with self._lock:
            self._processed += 1
            self._timings.append(_Timing(now, latency, inference, image_age))
            self._forget_before(now - self._period)

    def report(self) -> StreamReport:
        """Statistics over the last period."""
        now = self._clock()
        with self._lock:
            self._forget_before(now - self._period)
            timings = list(self._timings)
            processed = self._processed
        looked_back = max(min(self._period, now - self._start), 1e-3)
        return StreamReport(
            rate=len(timings) / looked_back,
            latency=_median([timing.latency for timing in timings]),
            latency_worst=max((timing.latency for timing in timings), default=None),
            inference=_median([timing.inference for timing in timings]),
            image_age=_median(
                [timing.image_age for timing in timings if timing.image_age is not None]
            ),
            processed=processed,
        )

    def _forget_before(self, time_limit: float) -> None:
        while self._timings and self._timings[0].time < time_limit:
            self._timings.popleft()


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


ERROR_SHOWS = 10.0
"""Seconds for which an error determines the level and the summary."""


@dataclass(frozen=True)
class SessionView:
    """Snapshot of a session for other threads than the one that owns it."""

    model: str = ""
    device: str = ""
    runtime: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    preparing: Mapping[str, str] = field(default_factory=dict)
    """Progress of the runtime's preparation, for commands that wait for it."""
    last_reset: str = ""
    resets: int = 0
    late: int = 0
    failed: int = 0


def view_of(session: AnySession) -> SessionView:
    """The current view of a session; call it in the thread that owns the session."""
    return SessionView(
        model=session.model_name,
        device=session.device,
        runtime=session.runtime,
        commands=dict(session.commands),
        preparing={key: _described(one) for key, one in session.preparing.items()},
        last_reset=session.last_reset or "",
        resets=session.reset_count,
        late=session.late_count,
        failed=session.failure_count,
    )


def _described(preparation: Preparation) -> str:
    if preparation.error is not None:
        return f"cannot join: {preparation.error}"
    return f"preparing {preparation.fraction:.0%}"


@dataclass(frozen=True)
class CameraHealth:
    """Snapshot of one camera's stream; the defaults are those without a stream.

    Attributes:
        name: of the camera; "" if the node serves a single one.
        view: of its session.
        topic: of the images; "" without a subscription.
        publishers: number of known publishers on it.
        silence: seconds since the last image, or None.
        received: number of images received.
        dropped: number of images replaced by newer ones before processing.
        stream: rates and delays.
        errors: number of images that could not be processed; last_error: the last, or None.
    """

    name: str = ""
    view: SessionView = field(default_factory=SessionView)
    topic: str = ""
    publishers: int = 0
    silence: float | None = None
    received: int = 0
    dropped: int = 0
    stream: StreamReport = field(default_factory=StreamReport)
    errors: int = 0
    last_error: ReportedError | None = None


@dataclass(frozen=True)
class NodeHealth:
    """Snapshot of the node and its cameras.

    Attributes:
        lifecycle: label of the lifecycle state, such as "active".
        transition_error: why the last transition failed, or "".
        now: seconds of the monotonic clock.
        loading_since: when loading of the model began, by that clock, or None.
        preparing: phase and progress of a runtime's preparation, or "".
        clock: problem of the node's time, or "".
        silence_limit: seconds of silence before a warning; 0 for none.
        errors: number of errors since the start, without those of images; last_error: the last, or
            None.
        configured_since: when the model was loaded; None without a model.
        cameras: at least one.
    """

    lifecycle: str
    transition_error: str
    now: float
    loading_since: float | None
    preparing: str
    clock: str
    silence_limit: float
    errors: int
    last_error: ReportedError | None
    configured_since: float | None
    cameras: Sequence[CameraHealth] = (CameraHealth(),)

    def last_error_of(self, camera: CameraHealth) -> ReportedError | None:
        """The last error that concerns a camera: one of its own, or of the node."""
        known = [error for error in (self.last_error, camera.last_error) if error is not None]
        return max(known, key=lambda error: error.time, default=None)


def diagnostic_array(node_name: str, stamp: Any, health: NodeHealth) -> DiagnosticArray:
    """The message for /diagnostics: one status per camera, named after the node."""
    statuses = []
    for camera in health.cameras:
        level, summary = _verdict(health, camera)
        values = _values(health, camera).items()
        statuses.append(
            DiagnosticStatus(
                level=level,
                name=f"{node_name.lstrip('/')}: {camera.name or 'stream'}",
                message=summary,
                hardware_id=camera.view.device or "none",
                values=[KeyValue(key=key, value=value) for key, value in values],
            )
        )
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message


def _verdict(health: NodeHealth, camera: CameraHealth) -> tuple[bytes, str]:
    if health.preparing:
        return DiagnosticStatus.WARN, f"Getting ready: {health.preparing}."
    if health.loading_since is not None:
        waited = health.now - health.loading_since
        return DiagnosticStatus.WARN, f"Loading the model for {waited:.0f} s."
    if health.lifecycle != "active":
        if health.transition_error:
            return DiagnosticStatus.ERROR, health.transition_error
        idle = f"The node is {health.lifecycle}; it processes no images."
        return DiagnosticStatus.WARN, f"{idle} {health.clock}".rstrip()
    error, configured = health.last_error_of(camera), health.configured_since
    if error and configured and error.time > max(configured, health.now - ERROR_SHOWS):
        return DiagnosticStatus.ERROR, error.message
    if health.clock:
        return DiagnosticStatus.WARN, health.clock
    if camera.silence is not None and camera.silence > health.silence_limit > 0:
        return DiagnosticStatus.WARN, f"No image on {camera.topic} for {camera.silence:.0f} s."
    if not camera.view.commands:
        return DiagnosticStatus.OK, "Running; no command was given."
    if camera.view.preparing:
        waiting = (f"{quoted(name)} {state}" for name, state in camera.view.preparing.items())
        return DiagnosticStatus.WARN, f"Running; {'; '.join(waiting)}."
    return DiagnosticStatus.OK, "Running."


def _values(health: NodeHealth, camera: CameraHealth) -> dict[str, str]:
    stream, view, error = camera.stream, camera.view, health.last_error_of(camera)
    return {
        "state": health.lifecycle,
        "model": view.model or "none",
        "device": view.device or "none",
        "runtime": view.runtime or "none",
        "getting ready": health.preparing or "no",
        "commands": "; ".join(
            f"{quoted(name)}: {quoted(text)}"
            + (f" ({view.preparing[name]})" if name in view.preparing else "")
            for name, text in view.commands.items()
        )
        or "none",
        "image topic": camera.topic or "none",
        "image publishers": str(camera.publishers),
        "clock": health.clock or "running",
        "rate (Hz)": f"{stream.rate:.2f}",
        "latency (ms)": _milliseconds(stream.latency),
        "worst latency (ms)": _milliseconds(stream.latency_worst),
        "inference (ms)": _milliseconds(stream.inference),
        "image age (ms)": _milliseconds(stream.image_age),
        "images received": str(camera.received),
        "images answered": str(stream.processed),
        "dropped frames": str(camera.dropped),
        "errors": str(health.errors + camera.errors),
        "last error": error.message if error else "none",
        "last error age (s)": f"{health.now - error.time:.0f}" if error else "none",
        "late images": str(view.late),
        "failed images": str(view.failed),
        "memory resets": str(view.resets),
        "last memory reset": view.last_reset or "none",
    }


def _milliseconds(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds * 1000.0:.1f}"


CLOCK_TOPIC = "/clock"
PATIENCE = 3.0
"""Seconds without progress of the clock before a warning."""


class ClockMonitor:
    """Detection of a stopped clock for nodes with `use_sim_time`.

    Args:
        node: the node whose clock is monitored; it logs a warning once per standstill.

    Attributes:
        problem: the problem and what to do, or "".
    """

    def __init__(self, node: Node) -> None:
        self.problem = ""
        self._node = node
        self._seen: int | None = None
        self._since = time.monotonic()

    def check(self) -> None:
        """Compare with the previous check; call it about once per second, by a steady clock."""
        clock = self._node.get_clock()
        simulated = isinstance(clock, ROSClock) and clock.ros_time_is_active
        seen = clock.now().nanoseconds if simulated else None
        if seen is None or seen != self._seen:
            self._seen, self._since, self.problem = seen, time.monotonic(), ""
            return
        if self.problem or time.monotonic() - self._since < PATIENCE:
            return
        publishers = self._node.count_publishers(CLOCK_TOPIC)
        cause = f"publishers: {publishers}" if publishers else "it has no publisher"
        self.problem = (
            f"use_sim_time is true, but {CLOCK_TOPIC} is silent ({cause}): the node's time stands "
            f"still at {seen * 1e-9:.3f} s. Start the simulation, play bags with "
            "`ros2 bag play --clock`, or set use_sim_time to false."
        )
        self._node.get_logger().warning(self.problem)
