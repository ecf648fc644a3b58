# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Differential drive: motion of a base from velocity commands, and its odometry.

Kinematic, without wheels or slip: speeds change at limited rates, a command that is not repeated
runs out, and odometry may drift. It knows nothing of MuJoCo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from referdino_core.following.geometry import Pose, wrap_angle
from referdino_core.following.motion import STANDSTILL, Velocity
from referdino_core.following.odometry import Odometry
from referdino_core.following.ranges import Ranged, quantity


@dataclass(frozen=True)
class DriveSettings(Ranged):
    """A base.

    Attributes:
        linear, angular: fastest speeds, both ways.
        acceleration, angular_acceleration: fastest changes of speed, both ways.
        timeout: after which a command that was not repeated runs out.
        drift: standard deviation of the odometry's scale, of way and of turn, as a fraction.
        radius: of the circle that the base takes on the floor.
    """

    linear: float = quantity(0.5, 0.01, 5.0, "m/s")
    angular: float = quantity(1.5, 0.01, 10.0, "rad/s")
    acceleration: float = quantity(1.2, 0.05, 20.0, "m/s²")
    angular_acceleration: float = quantity(4.0, 0.05, 50.0, "rad/s²")
    timeout: float = quantity(0.5, 0.01, 10.0, "s")
    drift: float = quantity(0.0, 0.0, 0.5)
    radius: float = quantity(0.2, 0.02, 2.0, "m")


class DifferentialDrive:
    """A base on the floor.

    Attributes:
        pose: where it truly is, in the world.
        velocity: how fast it truly moves.
        way: metres that it has truly driven, forwards and backwards.
    """

    def __init__(
        self,
        settings: DriveSettings,
        pose: Pose,
        rng: np.random.Generator,
        odometry: Pose | None = None,
    ) -> None:
        """Put a base on the floor.

        Args:
            odometry: what it says of its pose at first; None for the origin.
        """
        self.settings = settings
        self.pose = pose
        self.velocity = STANDSTILL
        self.way = 0.0
        self._odometry = odometry or Pose()
        self._scale = 1.0 + settings.drift * rng.standard_normal(2)
        self._command, self._commanded = STANDSTILL, -math.inf

    def command(self, now: float, velocity: Velocity) -> None:
        """Take a velocity command that comes at a time, in seconds."""
        self._command, self._commanded = velocity, now

    def advance(self, now: float, seconds: float) -> None:
        """Move from a time on for so long."""
        settings = self.settings
        in_time = now - self._commanded <= settings.timeout
        wanted = self._command if in_time else STANDSTILL
        linear = _towards(
            self.velocity.linear,
            _clamp(wanted.linear, settings.linear),
            settings.acceleration * seconds,
        )
        angular = _towards(
            self.velocity.angular,
            _clamp(wanted.angular, settings.angular),
            settings.angular_acceleration * seconds,
        )
        self.velocity = Velocity(linear, angular)
        self.pose = _moved(self.pose, linear * seconds, angular * seconds)
        scales = self._scale
        self._odometry = _moved(
            self._odometry, scales[0] * linear * seconds, scales[1] * angular * seconds
        )
        self.way += abs(linear) * seconds

    def stop_at(self, pose: Pose) -> None:
        """Something is in the way: the base stands at a pose, though its wheels may turn on."""
        self.pose = pose
        self.velocity = Velocity(0.0, self.velocity.angular)

    def odometry(self, now: float) -> Odometry:
        """Odometry of the base since the start."""
        scales = self._scale
        return Odometry(
            now,
            self._odometry,
            float(scales[0]) * self.velocity.linear,
            float(scales[1]) * self.velocity.angular,
        )


def _moved(pose: Pose, way: float, turn: float) -> Pose:
    """The pose after an arc, by the heading halfway."""
    heading = pose.yaw + turn / 2
    x = pose.x + way * math.cos(heading)
    y = pose.y + way * math.sin(heading)
    return Pose(x, y, wrap_angle(pose.yaw + turn))


def _towards(value: float, wanted: float, step: float) -> float:
    return value + _clamp(wanted - value, step)


def _clamp(value: float, most: float) -> float:
    return max(-most, min(most, value))
