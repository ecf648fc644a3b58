# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node's health as a diagnostic_msgs/DiagnosticArray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from referdino_ros.command_input import shown
from referdino_ros.error_log import ReportedError
from referdino_ros.stream_statistics import StreamReport

if TYPE_CHECKING:
    from referdino_core import Session
    from referdino_core.runtime.stages import Preparation

ERROR_SHOWS = 10.0
"""Seconds for which an error stands in the level and the summary."""


@dataclass(frozen=True)
class SessionView:
    """What the model's thread lets other threads see of its session."""

    model: str = ""
    device: str = ""
    runtime: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
    preparing: Mapping[str, str] = field(default_factory=dict)
    """By command, how far the runtime is with getting ready for it, of those that wait for that."""
    last_reset: str = ""
    resets: int = 0
    late: int = 0
    failed: int = 0


def view_of(session: Session) -> SessionView:
    """The view of a session as it is now; for the thread that owns it."""
    return SessionView(
        model=session.model_name,
        device=session.device,
        runtime=session.runtime,
        commands=dict(session.commands),
        preparing={key: _told(one) for key, one in session.preparing.items()},
        last_reset=session.last_reset or "",
        resets=session.reset_count,
        late=session.late_count,
        failed=session.failure_count,
    )


def _told(preparation: Preparation) -> str:
    if preparation.error is not None:
        return f"cannot join: {preparation.error}"
    return f"preparing {preparation.fraction:.0%}"


@dataclass(frozen=True)
class CameraHealth:
    """A snapshot of one camera's stream; the defaults are those of no stream.

    Attributes:
        name: of the camera; empty where the node serves one alone.
        view: of its session.
        topic: of the images; empty while there is no subscription.
        publishers: of images on it, that are known.
        silence: seconds since the last image, or None.
        received: images received.
        dropped: images that a newer one replaced before the model came to them.
        stream: rates and delays.
        errors: images that could not be answered; last_error: the last of them, or None.
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
    """A snapshot of the node and its cameras.

    Attributes:
        lifecycle: label of the lifecycle's state, such as "active".
        transition_error: why the last transition failed, or empty.
        now: seconds of the monotonic clock.
        loading_since: when loading of the model began, by that clock, or None.
        preparing: what a runtime that is getting ready does, and how far it is; or empty.
        clock: what is wrong with the node's time, or empty.
        silence_limit: seconds of silence that are a warning; 0 for none.
        errors: count since the start, those of images left out; last_error: the last, or None.
        configured_since: when the model was loaded; None while there is none.
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
    """The message for /diagnostics: one status per camera that bears the node's name."""
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
        idle = f"The node is {health.lifecycle}; it answers no images."
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
        waiting = (f"{shown(name)} {state}" for name, state in camera.view.preparing.items())
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
            f"{shown(name)}: {shown(text)}"
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
        "images answered": str(stream.answered),
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
