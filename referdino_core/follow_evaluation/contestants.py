# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Three followers behind the same perception: referdino's, Nav2's law, the tutorial's ball tracker.

The two baselines are written from the published behaviour and default parameters of Nav2's
following server (navigation2, `nav2_following` with its graceful controller, 2026) and of
ball_tracker's `follow_ball` (joshnewans, 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from referdino_core.following import (
    STANDSTILL,
    Follower,
    FollowerSettings,
    Goal,
    Inputs,
    Intrinsics,
    Mode,
    Mounting,
    Observation,
    Odometry,
    Pose,
    Velocity,
)
from referdino_core.following.clearance import Corridor
from referdino_core.following.geometry import wrap_angle
from referdino_core.following.locating import TargetLocator
from referdino_core.simulation import Frame
from referdino_core.target import Target, TargetState


@dataclass(frozen=True, eq=False)
class Seen:
    """What came of one image.

    pose: of the base in the odometry frame when it was taken.
    """

    frame: Frame
    target: Target
    intrinsics: Intrinsics
    pose: Pose


class Contestant(Protocol):
    """Steers a robot.

    Attributes:
        name: for the table.
        period: seconds between its commands.
    """

    name: str
    period: float

    def begin(self, distance: float, radius: float, intrinsics: Intrinsics) -> None:
        """Begin an episode: the distance to keep, and the target's true radius."""
        ...

    def see(self, now: float, seen: Seen) -> None:
        """Hear what came of an image."""
        ...

    def steer(self, now: float, odometry: Odometry) -> Velocity | None:
        """A command; None for silence."""
        ...

    def says(self) -> str:
        """Its state and reason, for people."""
        ...


class ReferdinoFollower:
    """This project's follower with its default settings."""

    name = "referdino"
    period = 0.05

    def __init__(self, mounting: Mounting, settings: FollowerSettings | None = None) -> None:
        self._mounting = mounting
        self._settings = settings or FollowerSettings()

    def begin(self, distance: float, radius: float, intrinsics: Intrinsics) -> None:
        """Begin with nothing remembered."""
        settings = replace(self._settings, field_of_view=intrinsics.field_of_view)
        self.follower = Follower(settings)
        self._locator = TargetLocator(self._mounting)
        self._corridor = Corridor()
        self._goal = Goal("episode", Mode.FOLLOW, distance)
        self._observations: list[Observation] = []

    def see(self, now: float, seen: Seen) -> None:
        """Measure the target, and what else is ahead."""
        frame, target = seen.frame, seen.target
        observation, _ = self._locator.locate(
            frame.stamp, target, frame.depth, seen.intrinsics, seen.pose
        )
        free = self._corridor.free_distance(
            frame.stamp, frame.depth, target.mask, seen.intrinsics, self._mounting, seen.pose
        )
        self._observations.append(replace(observation, free_distance=free))

    def steer(self, now: float, odometry: Odometry) -> Velocity | None:
        """The follower's decision."""
        observation = self._observations.pop(0) if self._observations else None
        self.decision = self.follower.step(now, Inputs(self._goal, observation, odometry))
        return self.decision.command if self.decision.publish else None

    def says(self) -> str:
        """State and reason."""
        return f"{self.decision.state.value}: {self.decision.reason}"


class Nav2Follower:
    """Nav2's following law with its default parameters, at 50 Hz.

    The pose is that of the target's centre in the odometry frame, as `targets_3d` would publish it.
    """

    name = "Nav2's law"
    period = 0.02
    detection_timeout = 2.0
    linear_tolerance, angular_tolerance = 0.15, 0.15
    filter_coefficient = 0.1
    k_phi, k_delta, beta, curvature_exponent = 3.0, 2.0, 0.4, 2.0
    v_min, v_max, w_max = 0.1, 0.25, 0.75
    slowdown_radius, deceleration = 0.25, 2.5
    overshoot = 0.25
    """The goal point lies this much nearer than the desired distance."""

    def __init__(self, mounting: Mounting) -> None:
        self._mounting = mounting

    def begin(self, distance: float, radius: float, intrinsics: Intrinsics) -> None:
        """Begin; poses are of the centre, so the distance is measured from there."""
        self._locator = TargetLocator(self._mounting)
        self._desired = distance + radius
        self._filtered: np.ndarray | None = None
        self._newest: Observation | None = None
        self._ended = False
        self._told = "waiting for a pose"

    def see(self, now: float, seen: Seen) -> None:
        """Take a pose, where there is one."""
        observation, _ = self._locator.locate(
            seen.frame.stamp, seen.target, seen.frame.depth, seen.intrinsics, seen.pose
        )
        if observation.position is not None and seen.target.state is TargetState.TRACKING:
            self._newest = observation

    def steer(self, now: float, odometry: Odometry) -> Velocity | None:
        """One tick of the controller."""
        if self._newest is None or self._ended:
            return STANDSTILL if self._ended else None
        assert self._newest.position is not None
        if now - self._newest.stamp > self.detection_timeout:
            # Without search_by_rotating, its default, all retries are used up within 80 ms.
            self._ended, self._told = True, "aborted: failed to detect the object"
            return STANDSTILL
        if self._filtered is None:
            self._filtered = self._newest.position
        share = self.filter_coefficient
        self._filtered = share * self._newest.position + (1 - share) * self._filtered
        return self._track(self._filtered, odometry.pose)

    def _track(self, position: np.ndarray, pose: Pose) -> Velocity:
        offset = position - (pose.x, pose.y)
        reach = float(np.hypot(*offset))
        line = math.atan2(offset[1], offset[0])
        heading = wrap_angle(line - pose.yaw)
        if abs(reach - self._desired) < self.linear_tolerance and abs(heading) < (
            self.angular_tolerance
        ):
            self._told = "reached"
            return STANDSTILL
        self._told = "controlling"
        ahead = reach - (self._desired - self.overshoot)
        r = max(abs(ahead), 1e-3)
        towards = line if ahead >= 0 else wrap_angle(line + math.pi)
        delta = wrap_angle(pose.yaw - towards)
        phi = wrap_angle(line - towards)
        slope = math.atan(-self.k_phi * phi)
        share = 1 + self.k_phi / (1 + (self.k_phi * phi) ** 2)
        curvature = -(self.k_delta * (delta - slope) + share * math.sin(delta)) / r
        v = self.v_max / (1 + self.beta * abs(curvature) ** self.curvature_exponent)
        v = min(v, self.v_max * r / self.slowdown_radius, math.sqrt(2 * r * self.deceleration))
        v = min(max(v, self.v_min), self.v_max)
        w = max(-self.w_max, min(self.w_max, curvature * v))
        return Velocity(w / curvature if abs(curvature) > 1e-6 else v, w)

    def says(self) -> str:
        """What its feedback would say."""
        return self._told


class BallTracker:
    """The tutorial's ball tracker: bearing and apparent size, constant speeds, at 10 Hz.

    Its size threshold is set to what the target measures at the desired distance; its own default
    knows nothing of distances.
    """

    name = "ball tracker"
    period = 0.1
    timeout = 1.0
    chase_multiplier, chase_speed, search_speed, filter_value = 0.7, 0.1, 0.5, 0.9

    def begin(self, distance: float, radius: float, intrinsics: Intrinsics) -> None:
        """Begin."""
        span = 2 * radius * intrinsics.fx / (distance + radius)
        self._threshold = span / intrinsics.width
        self._x = self._size = 0.0
        self._heard = -math.inf

    def see(self, now: float, seen: Seen) -> None:
        """Take the mask's place and size, smoothed over messages."""
        box = seen.target.box
        if box is None:
            return
        width = seen.intrinsics.width
        x, size = (box[0] + box[2]) / width - 1, (box[2] - box[0]) / width
        keep = self.filter_value
        self._x = keep * self._x + (1 - keep) * x
        self._size = keep * self._size + (1 - keep) * size
        self._heard = now

    def steer(self, now: float, odometry: Odometry) -> Velocity | None:
        """Chase what was heard of within a second, else spin."""
        if now - self._heard > self.timeout:
            return Velocity(0.0, self.search_speed)
        forward = self.chase_speed if self._size < self._threshold else 0.0
        return Velocity(forward, -self.chase_multiplier * self._x)

    def says(self) -> str:
        """Nothing: it has no states."""
        return ""
