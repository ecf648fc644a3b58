# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The control law: speeds that bring a robot to a distance from its target, facing it.

Both sides of the distance are kept, the bearing comes first, and every speed is one that the robot
can brake from: at the distance, at an obstacle, and before it has driven far without a sight of
its target.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from referdino_core.following.ranges import Ranged, quantity


@dataclass(frozen=True)
class Velocity:
    """Velocity command: metres per second forward, radians per second to the left."""

    linear: float = 0.0
    angular: float = 0.0

    @property
    def is_zero(self) -> bool:
        """Whether the base is to stand still."""
        return self.linear == 0.0 and self.angular == 0.0


STANDSTILL = Velocity()
STILL_SPEED = 0.05
"""Metres per second; a target that is estimated to move more slowly counts as standing."""


@dataclass(frozen=True)
class MotionLimits(Ranged):
    """Motion limits, small by default.

    Attributes:
        linear, angular: speeds.
        reverse: speed backwards, where `allow_reverse` of the control is set.
        acceleration, deceleration, angular_acceleration: changes of speed.
        latency: from a command to the motion of the base.
        blind_distance: way that may be driven since the newest image that showed the target.
    """

    linear: float = quantity(0.3, 0.01, 5.0, "m/s")
    angular: float = quantity(0.8, 0.01, 5.0, "rad/s")
    reverse: float = quantity(0.1, 0.0, 1.0, "m/s")
    acceleration: float = quantity(0.5, 0.05, 10.0, "m/s²")
    deceleration: float = quantity(1.0, 0.05, 10.0, "m/s²")
    angular_acceleration: float = quantity(1.5, 0.1, 20.0, "rad/s²")
    latency: float = quantity(0.1, 0.0, 2.0, "s")
    blind_distance: float = quantity(0.12, 0.02, 2.0, "m")


@dataclass(frozen=True)
class ControlSettings(Ranged):
    """Gains and tolerances of the control law.

    Attributes:
        distance_gain: speed per metre of error.
        bearing_gain: turning speed per radian of error.
        settle: error of the distance at which driving ends.
        deadband: error of the distance at which it begins again.
        bearing_deadband: bearing up to which the robot does not turn.
        bearing_limit: bearing beyond which it turns only.
        bearing_exponent: speed is scaled by the bearing's cosine to this power.
        min_distance: distance from the target's surface that is never undercut.
        floor: speed below which a base does not move; what is slower is raised to it.
        allow_reverse: whether it backs off from a target that is too near.
    """

    distance_gain: float = quantity(0.8, 0.05, 5.0, "1/s")
    bearing_gain: float = quantity(1.6, 0.1, 10.0, "1/s")
    settle: float = quantity(0.03, 0.0, 1.0, "m")
    deadband: float = quantity(0.1, 0.0, 1.0, "m")
    bearing_deadband: float = quantity(0.04, 0.0, 0.5, "rad")
    bearing_limit: float = quantity(math.pi / 4, 0.1, 1.5, "rad")
    bearing_exponent: float = quantity(2.0, 0.0, 10.0)
    min_distance: float = quantity(0.4, 0.05, 5.0, "m")
    floor: float = quantity(0.02, 0.0, 0.2, "m/s")
    allow_reverse: bool = False


@dataclass(frozen=True)
class RelativeTarget:
    """A target as seen from the base now.

    distance: metres from the base's origin to its surface. range: to its centre. bearing: radians
    to the left. receding, crossing: its own velocity along the line of sight, away, and across it,
    to the left; metres per second.
    """

    distance: float
    range: float
    bearing: float
    receding: float = 0.0
    crossing: float = 0.0


def braking_speed(gap: float, deceleration: float, latency: float) -> float:
    """The speed from which a base stops within a gap: v t + v² / 2a = gap, with its latency t."""
    if not gap > 0:  # true of NaN, too
        return 0.0
    delayed = deceleration * latency
    return math.sqrt(delayed * delayed + 2 * deceleration * gap) - delayed


def is_driving(
    target: RelativeTarget, distance: float, drove: bool, control: ControlSettings
) -> bool:
    """Whether the distance is to be corrected.

    What has settled rests until the error leaves the deadband; a target that comes or goes is
    followed all the time.

    Args:
        distance: metres to keep from the target's surface.
        drove: whether it was being corrected a moment ago.
    """
    error = target.distance - max(distance, control.min_distance)
    threshold = control.settle if drove else control.deadband
    return abs(error) > threshold or abs(target.receding) > STILL_SPEED


def driving_speed(
    target: RelativeTarget, distance: float, control: ControlSettings, limits: MotionLimits
) -> float:
    """Metres per second that correct the distance and go along with the target.

    It falls with the bearing and is 0 beyond the limit, so that the target stays in view.
    """
    if abs(target.bearing) >= control.bearing_limit:
        return 0.0
    error = target.distance - max(distance, control.min_distance)
    facing = math.cos(target.bearing) ** control.bearing_exponent
    wanted = control.distance_gain * error + target.receding
    if wanted <= 0:
        if error >= -control.settle or not control.allow_reverse:
            return 0.0
        return max(wanted, -limits.reverse) * facing
    if error < -control.settle:
        return 0.0
    safe = braking_speed(max(error, 0.0), limits.deceleration, limits.latency)
    safe += max(target.receding, 0.0)  # what recedes leaves room behind it
    speed = min(wanted, limits.linear, safe) * facing
    return min(max(speed, control.floor), safe)


def turning_speed(
    target: RelativeTarget, linear: float, control: ControlSettings, limits: MotionLimits
) -> float:
    """Radians per second that bring the bearing to 0 and keep it there.

    Args:
        linear: the base's speed, which moves the target across the view unless it is ahead.
    """
    crosses = abs(target.crossing) > STILL_SPEED
    if abs(target.bearing) <= control.bearing_deadband and not crosses:
        return 0.0
    across = target.crossing if crosses else 0.0
    carried = (across + linear * math.sin(target.bearing)) / max(target.range, 0.3)
    return _clamp(control.bearing_gain * target.bearing + carried, limits.angular)


def limited(previous: Velocity, wanted: Velocity, seconds: float, limits: MotionLimits) -> Velocity:
    """The wanted velocity as far as it can be reached from the previous one in that time."""
    slows = abs(wanted.linear) < abs(previous.linear) or wanted.linear * previous.linear < 0
    step = (limits.deceleration if slows else limits.acceleration) * seconds
    linear = previous.linear + _clamp(wanted.linear - previous.linear, step)
    step = limits.angular_acceleration * seconds
    angular = previous.angular + _clamp(wanted.angular - previous.angular, step)
    return Velocity(_clamp(linear, limits.linear), _clamp(angular, limits.angular))


def bounded(velocity: Velocity, gap: float, limits: MotionLimits) -> Velocity:
    """The velocity with a forward speed that stops within a gap, in metres."""
    safe = braking_speed(gap, limits.deceleration, limits.latency)
    return Velocity(min(velocity.linear, safe), velocity.angular)


def _clamp(value: float, most: float) -> float:
    """The value within the limit on both sides; NaN stays NaN."""
    if math.isnan(value):
        return value
    return max(-most, min(most, value))
