# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Conversions between messages and the data classes of `referdino_core.following`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.following import (
    Intrinsics,
    Measured,
    Measurement,
    Observation,
    Odometry,
    PlaceEvidence,
    Pose,
)
from referdino_core.messages import run_lengths
from referdino_core.messages.results import JUDGEMENTS, STATES
from referdino_core.target import Target, box_around

_STATE_OF = {number: state for state, number in STATES.items()}
_JUDGEMENT_OF = {number: judgement for judgement, number in JUDGEMENTS.items()}
_MEASURED = {Measured.NOTHING: 0, Measured.BEARING: 1, Measured.POSITION: 2}
_PLACES = {
    PlaceEvidence.UNKNOWN: 0,
    PlaceEvidence.HIDDEN: 1,
    PlaceEvidence.PRESENT: 2,
    PlaceEvidence.EMPTY: 3,
}
_PLACE_OF = {number: place for place, number in _PLACES.items()}
_MEASURED_OF = {number: kind for kind, number in _MEASURED.items()}


def seconds_of(stamp: Any) -> float:
    """A `builtin_interfaces/Time` or `Duration` in seconds."""
    return float(stamp.sec) + stamp.nanosec * 1e-9


def time_fields(seconds: float) -> dict[str, int]:
    """Fields of a `builtin_interfaces/Time` or `Duration`; nothing below zero."""
    nanoseconds = round(max(seconds, 0.0) * 1e9)
    return {"sec": nanoseconds // 10**9, "nanosec": nanoseconds % 10**9}


def check_finite(name: str, *values: float) -> None:
    """Check numbers that a robot would be driven by.

    Raises:
        ReferDINOError: one of them is NaN or infinite.
    """
    if not all(map(math.isfinite, values)):
        raise ReferDINOError(f"{name} holds a number that is not finite; it is left out.")


def targets_from_message(message: Any) -> list[Target]:
    """The targets of a `referdino/ReferredObjectArray`."""
    judgement = _JUDGEMENT_OF[message.judgement]
    targets = []
    for entry in message.objects:
        mask = run_lengths.decode(entry.mask.counts, entry.mask.height, entry.mask.width)
        targets.append(
            Target(
                entry.command_id,
                entry.command,
                entry.track_id,
                _STATE_OF[entry.state],
                entry.score,
                entry.frame_score,
                box_around(mask),
                mask,
                judgement=judgement,
            )
        )
    return targets


def odometry_from_message(message: Any) -> Odometry:
    """Pose and speeds of a `nav_msgs/Odometry`, on the floor.

    Raises:
        ReferDINOError: a number is not finite.
    """
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    yaw = yaw_of(turn.x, turn.y, turn.z, turn.w)
    twist = message.twist.twist
    check_finite("Odometry", position.x, position.y, yaw, twist.linear.x, twist.angular.z)
    return Odometry(
        seconds_of(message.header.stamp),
        Pose(position.x, position.y, yaw),
        twist.linear.x,
        twist.angular.z,
    )


def yaw_of(x: float, y: float, z: float, w: float) -> float:
    """Heading of a unit quaternion, radians."""
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def intrinsics_from_message(message: Any) -> Intrinsics:
    """Of a `sensor_msgs/CameraInfo`: its projection matrix, or `k` where that is not set.

    Raises:
        ReferDINOError: the camera is not calibrated.
    """
    matrix = message.p if message.p[0] > 0 else message.k
    return Intrinsics.from_matrix(message.width, message.height, [float(one) for one in matrix])


def fill_located(
    entry: Any, target: Target, observation: Observation, measurement: Measurement
) -> Any:
    """Fill a `referdino/LocatedTarget`; surface and free distance are the caller's."""
    entry.command_id, entry.command = target.command_id, target.command
    entry.track_id, entry.state = target.track_id, STATES[target.state]
    entry.score = float(target.score)
    entry.measured = _MEASURED[observation.kind]
    entry.reason, entry.place = observation.reason, _PLACES[observation.place]
    entry.truncated = observation.truncated
    entry.mask_pixels, entry.valid_pixels = measurement.mask_pixels, measurement.valid_pixels
    entry.bearing = observation.bearing or 0.0
    if observation.position is not None and observation.covariance is not None:
        x, y = observation.position
        entry.position.x, entry.position.y, entry.position.z = (
            float(x),
            float(y),
            observation.height,
        )
        whole = np.zeros((3, 3))
        whole[:2, :2] = observation.covariance
        whole[2, 2] = float(np.trace(observation.covariance)) / 2
        entry.covariance = whole.ravel()
        entry.radius = observation.radius
    if measurement.size is not None:
        width, height, depth = measurement.size
        entry.size.x, entry.size.y, entry.size.z = float(width), float(height), float(depth)
    return entry


def observation_from_located(entry: Any, array: Any) -> Observation:
    """The observation of a `referdino/LocatedTarget` in a `referdino/LocatedTargetArray`.

    Raises:
        ReferDINOError: a number is not finite.
    """
    kind = _MEASURED_OF[entry.measured]
    check_finite("A located target", entry.score, entry.bearing, entry.radius, entry.position.z)
    check_finite("A located target", entry.position.x, entry.position.y, *entry.covariance)
    position = covariance = None
    if kind is Measured.POSITION:
        position = np.array([entry.position.x, entry.position.y])
        covariance = np.array(entry.covariance, np.float64).reshape(3, 3)[:2, :2]
    return Observation(
        seconds_of(array.header.stamp),
        entry.track_id,
        _STATE_OF[entry.state],
        entry.score,
        kind,
        position,
        covariance,
        entry.position.z,
        entry.radius,
        None if kind is Measured.NOTHING else entry.bearing,
        entry.truncated,
        _JUDGEMENT_OF[array.judgement],
        entry.reason,
        _PLACE_OF[entry.place],
        None if entry.free_distance < 0 else entry.free_distance,
        array.stream,
    )
