# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A follower in a closed loop with an ideal base and a target on a plane, for its tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from referdino_core.following import (
    Decision,
    Follower,
    FollowerSettings,
    Goal,
    Inputs,
    Measured,
    Observation,
    Odometry,
    Pose,
    Velocity,
)
from referdino_core.following.geometry import wrap_angle
from referdino_core.target import TargetState

TICK = 0.05
BLIND = FollowerSettings().limits.blind_distance
RADIUS = 0.2
COVARIANCE = 0.05**2 * np.eye(2)


@dataclass
class Loop:
    """A robot at the origin that looks along x, and a target whose place is a function of time.

    place: (x, y) of the target's centre at a time since the start. sees: whether it is seen then,
    beside being within the view. change: what an observation becomes before it is heard. mute:
    whether no image comes at all.
    """

    place: Callable[[float], tuple[float, float]]
    goal: Goal | None = field(default_factory=lambda: Goal("1"))
    settings: FollowerSettings = field(default_factory=FollowerSettings)
    sees: Callable[[float], bool] = lambda time: True
    change: Callable[[float, Observation], Observation] = lambda time, observation: observation
    mute: Callable[[float], bool] = lambda time: False
    inputs: Callable[[float, Inputs], Inputs] = lambda time, inputs: inputs
    image_period: float = 0.1
    latency: float = 0.1
    began: float = 100.0

    def __post_init__(self) -> None:
        self.follower = Follower(self.settings)
        self.pose, self.velocity = Pose(), Velocity()
        self.time = 0.0
        self.way = 0.0
        self.decisions: list[Decision] = []
        self._images: list[tuple[float, Observation]] = []
        self._next = 0.0

    @property
    def distance(self) -> float:
        """True metres from the base to the target's surface."""
        x, y = self.place(self.time)
        return math.hypot(x - self.pose.x, y - self.pose.y) - RADIUS

    @property
    def bearing(self) -> float:
        """True radians from straight ahead."""
        x, y = self.place(self.time)
        return wrap_angle(math.atan2(y - self.pose.y, x - self.pose.x) - self.pose.yaw)

    @property
    def decision(self) -> Decision:
        """The newest."""
        return self.decisions[-1]

    def run(self, seconds: float) -> Decision:
        """Go on for so long; the newest decision."""
        for _ in range(round(seconds / TICK)):
            self._take_image()
            now = self.began + self.time
            heard = None
            if self._images and self._images[0][0] <= self.time + 1e-9:
                heard = self._images.pop(0)[1]
            odometry = Odometry(now, self.pose, self.velocity.linear, self.velocity.angular)
            inputs = self.inputs(self.time, Inputs(self.goal, heard, odometry))
            self.decisions.append(self.follower.step(now, inputs))
            self.velocity = self.decision.command
            way, turn = self.velocity.linear * TICK, self.velocity.angular * TICK
            self.pose = self.pose.compose(Pose(way, 0.0, turn))
            self.way += abs(way)
            self.time += TICK
        return self.decision

    def since(self, time: float) -> list[Decision]:
        """Decisions from a time on."""
        return self.decisions[round(time / TICK) :]

    def _take_image(self) -> None:
        if self.time < self._next - 1e-9:
            return
        self._next += self.image_period
        if self.mute(self.time):
            return
        stamp = self.began + self.time
        seen = abs(self.bearing) < self.settings.field_of_view / 2 and self.sees(self.time)
        observation = Observation(stamp, 1, TargetState.OCCLUDED)
        if seen:
            place = np.array(self.place(self.time))
            observation = replace(
                observation,
                state=TargetState.TRACKING,
                kind=Measured.POSITION,
                position=place,
                covariance=COVARIANCE,
                radius=RADIUS,
                bearing=math.atan2(place[1] - self.pose.y, place[0] - self.pose.x),
            )
        self._images.append((self.time + self.latency, self.change(self.time, observation)))


def standing(x: float = 3.0, y: float = 0.0) -> Loop:
    return Loop(lambda time: (x, y))


def moved(decisions: list[Decision]) -> bool:
    return any(not decision.stands_still for decision in decisions)


def renamed(
    to: int, begin: float, end: float, place: tuple[float, float] | None = None
) -> Callable[[float, Observation], Observation]:
    """Between two times the sentence means another identity, at another place or the same."""

    def change(time: float, observation: Observation) -> Observation:
        if not begin < time < end:
            return observation
        other = replace(observation, track_id=to)
        return other if place is None else replace(other, position=np.array(place))

    return change
