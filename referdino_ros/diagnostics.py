# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node's health as a diagnostic_msgs/DiagnosticArray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from referdino_ros.commands import shown
from referdino_ros.stream_statistics import StreamReport

if TYPE_CHECKING:
    from referdino_core import Session

ERROR_SHOWS = 10.0
"""Seconds for which an error stands in the level and the summary."""


@dataclass(frozen=True)
class SessionView:
    """What the model's thread lets other threads see of its session."""

    model: str = ""
    device: str = ""
    runtime: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)
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
        last_reset=session.last_reset or "",
        resets=session.reset_count,
        late=session.late_count,
        failed=session.failure_count,
    )


@dataclass(frozen=True)
class NodeHealth:
    """A snapshot of the node.

    Attributes:
        life_cycle: label of the life cycle's state, such as "active".
        transition_error: why the last transition failed, or empty.
        loading: seconds since loading of the model began, or None.
        model, device, runtime: of the session; empty while there is none.
        preparing: what a runtime that is getting ready does, and how far it is; or empty.
        commands: running, text by identifier.
        topic: of the images; empty while there is no subscription.
        publishers: of images on it, that are known.
        clock: what is wrong with the node's time, or empty.
        silence: seconds since the last image, or None.
        silence_limit: seconds of silence that are a warning; 0 for none.
        received: images received.
        dropped: images that a newer one replaced before the model came to them.
        stream: rates and delays.
        errors: count since the start.
        last_error: message, or empty.
        last_error_age: seconds, or None.
        configured: seconds since the model was loaded; None while there is none.
        last_reset: why the memories were reset last, or empty; resets: how often they were.
        late: images dropped because they were stamped before their predecessor.
        failed: images that the model could not judge.
    """

    life_cycle: str
    transition_error: str
    loading: float | None
    model: str
    device: str
    runtime: str
    preparing: str
    commands: Mapping[str, str]
    topic: str
    publishers: int
    clock: str
    silence: float | None
    silence_limit: float
    received: int
    dropped: int
    stream: StreamReport
    errors: int
    last_error: str
    last_error_age: float | None
    configured: float | None
    last_reset: str
    resets: int
    late: int
    failed: int


def diagnostic_array(node_name: str, stamp: Any, health: NodeHealth) -> DiagnosticArray:
    """The message for /diagnostics: one status that bears the node's name."""
    level, summary = _verdict(health)
    status = DiagnosticStatus(
        level=level,
        name=f"{node_name.lstrip('/')}: stream",
        message=summary,
        hardware_id=health.device or "none",
        values=[KeyValue(key=key, value=value) for key, value in _values(health).items()],
    )
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message


def _verdict(health: NodeHealth) -> tuple[bytes, str]:
    if health.preparing:
        return DiagnosticStatus.WARN, f"Getting ready: {health.preparing}."
    if health.loading is not None:
        return DiagnosticStatus.WARN, f"Loading the model for {health.loading:.0f} s."
    if health.life_cycle != "active":
        if health.transition_error:
            return DiagnosticStatus.ERROR, health.transition_error
        idle = f"The node is {health.life_cycle}; it answers no images."
        return DiagnosticStatus.WARN, f"{idle} {health.clock}".rstrip()
    if health.last_error_age is not None and health.last_error_age < min(
        ERROR_SHOWS, health.configured or 0.0
    ):
        return DiagnosticStatus.ERROR, health.last_error
    if health.clock:
        return DiagnosticStatus.WARN, health.clock
    silent = health.silence is not None and health.silence > health.silence_limit > 0
    if silent:
        return DiagnosticStatus.WARN, f"No image on {health.topic} for {health.silence:.0f} s."
    if not health.commands:
        return DiagnosticStatus.OK, "Running; no command was given."
    return DiagnosticStatus.OK, "Running."


def _values(health: NodeHealth) -> dict[str, str]:
    stream = health.stream
    return {
        "state": health.life_cycle,
        "model": health.model or "none",
        "device": health.device or "none",
        "runtime": health.runtime or "none",
        "getting ready": health.preparing or "no",
        "commands": "; ".join(
            f"{shown(name)}: {shown(text)}" for name, text in health.commands.items()
        )
        or "none",
        "image topic": health.topic or "none",
        "image publishers": str(health.publishers),
        "clock": health.clock or "running",
        "rate (Hz)": f"{stream.rate:.2f}",
        "latency (ms)": _milliseconds(stream.latency),
        "worst latency (ms)": _milliseconds(stream.latency_worst),
        "inference (ms)": _milliseconds(stream.inference),
        "image age (ms)": _milliseconds(stream.image_age),
        "images received": str(health.received),
        "images answered": str(stream.answered),
        "dropped frames": str(health.dropped),
        "errors": str(health.errors),
        "last error": health.last_error or "none",
        "last error age (s)": "none"
        if health.last_error_age is None
        else f"{health.last_error_age:.0f}",
        "late images": str(health.late),
        "failed images": str(health.failed),
        "memory resets": str(health.resets),
        "last memory reset": health.last_reset or "none",
    }


def _milliseconds(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds * 1000.0:.1f}"
