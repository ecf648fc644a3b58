# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Goals, states, reasons, outcomes and decisions of a follower."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from referdino_core.following.motion import STANDSTILL, Velocity
from referdino_core.following.ranges import Ranged, quantity


class Mode(str, Enum):
    """Behaviour towards a target.

    follow: keep the distance until told otherwise. approach: drive to the distance, then end.
    face: turn towards it, without end. find: turn until it is seen, face it, then end.
    """

    FOLLOW = "follow"
    APPROACH = "approach"
    FACE = "face"
    FIND = "find"


class OnSwitch(str, Enum):
    """Reaction to another identity for the same sentence.

    stop: the robot stands still. It goes on once the old identity is back, or once the new one has
    stayed for a while exactly where the target is; else the goal ends. accept: it is followed.
    """

    STOP = "stop"
    ACCEPT = "accept"


@dataclass(frozen=True)
class Goal(Ranged):
    """One task of a follower.

    Attributes:
        goal_id: tells goals apart: another one begins anew, the same one may change the rest.
        mode: what to do.
        distance: to keep from the base's origin to the target's surface.
        max_duration: after which the goal ends; 0 for never.
        on_switch: what another identity does.
    """

    goal_id: str = ""
    mode: Mode = Mode.FOLLOW
    distance: float = quantity(1.0, 0.1, 20.0, "m")
    max_duration: float = quantity(0.0, 0.0, 86400.0, "s")
    on_switch: OnSwitch = OnSwitch.STOP


class FollowState(str, Enum):
    """State of a follower.

    idle: there is no goal. looking: the target was not seen yet. driving, turning: towards it.
    holding: at the distance, facing it. bearing only: turning towards a target without depth.
    coasting: it is not seen at the moment; braking, turned to where it should be. waiting: it is
    hidden; standing still. searching: turning to find it again. switched: standing still while the
    sentence means another object. blocked: something else is in the way. paused, disabled: by
    order. faulty: time, odometry or images cannot be relied on. ended: the goal has an outcome.
    """

    IDLE = "idle"
    LOOKING = "looking"
    DRIVING = "driving"
    TURNING = "turning"
    HOLDING = "holding"
    BEARING_ONLY = "bearing only"
    COASTING = "coasting"
    WAITING = "waiting"
    SEARCHING = "searching"
    SWITCHED = "switched"
    BLOCKED = "blocked"
    PAUSED = "paused"
    DISABLED = "disabled"
    FAULTY = "faulty"
    ENDED = "ended"


class Outcome(str, Enum):
    """Outcome of a goal."""

    REACHED = "reached"
    FOUND = "found"
    LOST = "lost"
    NOT_FOUND = "not found"
    SWITCHED = "switched"
    TIMEOUT = "timeout"
    RESET = "reset"

    @property
    def is_success(self) -> bool:
        """Whether the goal was reached."""
        return self in (Outcome.REACHED, Outcome.FOUND)


@dataclass(frozen=True, eq=False)
class Decision:
    """Decision of a follower at one tick.

    Attributes:
        command: the velocity for the base.
        publish: whether to send it: always with a goal, unless it is paused or disabled, and for a
            short while of zeros after that.
        state: where it stands.
        reason: why it does what it does, in one sentence; names the cause of every standstill.
        outcome: how the goal ended; None while it runs or where there is none.
        track_id: the identity that is followed; 0 before one is bound.
        distance: metres from the base to the target's surface, predicted to now.
        bearing: radians to the left of the base, predicted to now.
        position: (2,) metres in the odometry frame, predicted to now.
        velocity: (2,) of the target, metres per second, in the odometry frame.
        age: seconds since the newest image that showed the target was taken.
        blind_distance: metres driven since then.
        elapsed: seconds since the goal began.
    """

    command: Velocity
    publish: bool
    state: FollowState
    reason: str
    outcome: Outcome | None = None
    track_id: int = 0
    distance: float | None = None
    bearing: float | None = None
    position: np.ndarray | None = None
    velocity: np.ndarray | None = None
    age: float | None = None
    blind_distance: float = 0.0
    elapsed: float = 0.0

    @property
    def stands_still(self) -> bool:
        """Whether the decision stops the base."""
        return self.command == STANDSTILL
