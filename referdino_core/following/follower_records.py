# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Settings, inputs and memory of a follower."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from referdino_core.following.geometry import Pose
from referdino_core.following.goals import FollowState, Goal, Outcome
from referdino_core.following.kalman import FilterSettings
from referdino_core.following.motion import STANDSTILL, ControlSettings, MotionLimits, Velocity
from referdino_core.following.observation import Observation
from referdino_core.following.odometry import Odometry, Way
from referdino_core.following.ranges import Ranged, quantity
from referdino_core.following.searching import Search, SearchSettings
from referdino_core.following.sight import Sight, SightSettings


@dataclass(frozen=True)
class FollowerSettings(Ranged):
    """Settings of a follower, apart from its goals.

    Attributes:
        field_of_view: of the camera, horizontal.
        odometry_age: of the newest odometry, beyond which the robot stands.
        coast: after which a target that is not seen is no longer driven to.
        horizon: for which a place is predicted without a sight of the target.
        hold: at the distance, facing the target, before an approach has reached it.
        zeros: for which zero is sent after a goal, before falling silent.
        switch_patience: for which it stands still while the sentence means another object.
        clearance: distance to anything else ahead at which the robot stands.
    """

    field_of_view: float = quantity(1.05, 0.1, 6.3, "rad")
    odometry_age: float = quantity(0.5, 0.05, 5.0, "s")
    coast: float = quantity(0.4, 0.0, 5.0, "s")
    horizon: float = quantity(1.0, 0.0, 10.0, "s")
    hold: float = quantity(0.5, 0.0, 10.0, "s")
    zeros: float = quantity(0.5, 0.1, 10.0, "s")
    switch_patience: float = quantity(8.0, 0.0, 600.0, "s")
    clearance: float = quantity(0.35, 0.05, 5.0, "m")
    limits: MotionLimits = field(default_factory=MotionLimits)
    control: ControlSettings = field(default_factory=ControlSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    sight: SightSettings = field(default_factory=SightSettings)
    motion: FilterSettings = field(default_factory=FilterSettings)


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs of a follower at one tick.

    Attributes:
        goal: the current one; None for none. Another `goal_id` begins anew.
        observation: what came of the goal's target since the last tick; None for nothing.
        odometry: the newest; None before the first.
        enabled: whether the dead-man switch is held; True where there is none.
        paused: whether it was told to wait.
    """

    goal: Goal | None = None
    observation: Observation | None = None
    odometry: Odometry | None = None
    enabled: bool = True
    paused: bool = False


@dataclass(frozen=True, eq=False)
class Memory:
    """State of a follower between ticks.

    Attributes:
        now: seconds, of the tick before. began: of the goal.
        spent: of the longest search, by searches shortly before; radians and seconds.
        command: the newest.
        driving: whether the distance was being corrected.
        way: driven lately.
        holding_since: when the place was reached; None away from it.
        rested: seconds for which nothing was to be done; None while there is something, infinite
            before the first goal.
        outcome, outcome_reason: of the goal, once it has ended.
    """

    now: float = -math.inf
    goal: Goal | None = None
    began: float = 0.0
    sight: Sight = field(default_factory=Sight)
    search: Search | None = None
    spent: tuple[float, float] = (0.0, 0.0)
    command: Velocity = STANDSTILL
    driving: bool = False
    way: Way = field(default_factory=Way)
    holding_since: float | None = None
    rested: float | None = math.inf
    outcome: Outcome | None = None
    outcome_reason: str = ""


@dataclass(frozen=True)
class Tick:
    """One call of `advance`: the time, its step, and where the base is."""

    now: float
    seconds: float
    inputs: Inputs
    pose: Pose
    settings: FollowerSettings
    limits: MotionLimits


@dataclass(frozen=True)
class Step:
    """A state with its reason, and the velocity to aim for.

    at_once: whether the velocity is taken without a limit on its change.
    """

    state: FollowState
    reason: str
    wanted: Velocity = STANDSTILL
    at_once: bool = False
    outcome: Outcome | None = None
