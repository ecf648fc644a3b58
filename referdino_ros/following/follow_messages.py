# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Status, result and diagnostics of the node `follower`."""

from __future__ import annotations

import math
from typing import Any

from builtin_interfaces.msg import Duration
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from referdino.action import Follow
from referdino.msg import FollowStatus
from std_msgs.msg import Header

from referdino_core.following import Decision, FollowState, Outcome
from referdino_ros.following.conversions import time_fields

_OUTCOMES = {
    None: Follow.Result.NONE,
    Outcome.REACHED: Follow.Result.REACHED,
    Outcome.FOUND: Follow.Result.FOUND,
    Outcome.LOST: Follow.Result.LOST,
    Outcome.NOT_FOUND: Follow.Result.NOT_FOUND,
    Outcome.SWITCHED: Follow.Result.SWITCHED,
    Outcome.TIMEOUT: Follow.Result.TIMEOUT,
    Outcome.RESET: Follow.Result.RESET,
}
_WARNED_OF = (FollowState.FAULTY, FollowState.BLOCKED, FollowState.SWITCHED)


def status(decision: Decision, sentence: str, stamp: Any, base_frame: str) -> FollowStatus:
    """A decision as a message; the stamp is that of the decision."""
    return FollowStatus(
        header=Header(stamp=stamp, frame_id=base_frame),
        state=decision.state.value,
        reason=decision.reason,
        sentence=sentence,
        track_id=decision.track_id,
        distance=_number(decision.distance),
        bearing=_number(decision.bearing),
        age=_number(decision.age),
        linear=decision.command.linear,
        angular=decision.command.angular,
        blind_distance=decision.blind_distance,
        blocked=decision.state is FollowState.BLOCKED,
        elapsed=Duration(**time_fields(decision.elapsed)),
    )


def result(
    outcome: Outcome | None,
    reason: str,
    decision: Decision | None,
    elapsed: float,
    refused: bool = False,
) -> Any:
    """The result of an action; elapsed: seconds."""
    return Follow.Result(
        outcome=Follow.Result.REFUSED if refused else _OUTCOMES[outcome],
        reason=reason,
        elapsed=Duration(**time_fields(elapsed)),
        distance=_number(None if decision is None else decision.distance),
        bearing=_number(None if decision is None else decision.bearing),
    )


def diagnostics(
    name: str, lifecycle: str, decision: Decision | None, problem: str
) -> DiagnosticArray:
    """Diagnostic status: the robot's state and its reason.

    Args:
        name: of the node.
        lifecycle: label of its state.
        problem: what keeps velocities from the base; "" for nothing.
    """
    told = "No goal yet." if decision is None else f"{decision.state.value}: {decision.reason}"
    warned = problem or (decision is not None and decision.state in _WARNED_OF)
    values = {"lifecycle": lifecycle}
    if decision is not None:
        values |= {
            "track id": str(decision.track_id),
            "distance": f"{_number(decision.distance):.2f} m",
            "age of the newest sight": f"{_number(decision.age):.2f} s",
            "linear": f"{decision.command.linear:.2f} m/s",
            "angular": f"{decision.command.angular:.2f} rad/s",
        }
    status = DiagnosticStatus(
        level=DiagnosticStatus.WARN if warned else DiagnosticStatus.OK,
        name=f"{name}: following",
        message=problem or told,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(status=[status])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
