# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Following: from masks, depth and odometry to the velocity of a robot, and why it stands still.

Knows neither ROS nor the network: a node, a simulation or a program of one's own feeds it.
"""

from referdino_core.following.depth import (
    DEPTH_ENCODINGS,
    DepthBuffer,
    DepthBufferSettings,
    DepthMatch,
    Join,
    depth_from_message,
    metres,
)
from referdino_core.following.follower import Follower, advance
from referdino_core.following.follower_records import FollowerSettings, Inputs, Memory
from referdino_core.following.geometry import Intrinsics, Mounting, Pose
from referdino_core.following.goals import Decision, FollowState, Goal, Mode, OnSwitch, Outcome
from referdino_core.following.instructions import (
    Instruction,
    Intent,
    NotUnderstood,
    description_grammar,
    jsgf,
    parse,
)
from referdino_core.following.measurement import (
    Measured,
    Measurement,
    MeasurementSettings,
    measure,
)
from referdino_core.following.motion import STANDSTILL, Velocity
from referdino_core.following.observation import Observation, PlaceEvidence, observe
from referdino_core.following.odometry import Odometry, PoseHistory

__all__ = [
    "DEPTH_ENCODINGS",
    "STANDSTILL",
    "Decision",
    "DepthBuffer",
    "DepthBufferSettings",
    "DepthMatch",
    "FollowState",
    "Follower",
    "FollowerSettings",
    "Goal",
    "Inputs",
    "Instruction",
    "Intent",
    "Intrinsics",
    "Join",
    "Measured",
    "Measurement",
    "MeasurementSettings",
    "Memory",
    "Mode",
    "Mounting",
    "NotUnderstood",
    "Observation",
    "Odometry",
    "OnSwitch",
    "Outcome",
    "PlaceEvidence",
    "Pose",
    "PoseHistory",
    "Velocity",
    "advance",
    "depth_from_message",
    "description_grammar",
    "jsgf",
    "measure",
    "metres",
    "observe",
    "parse",
]
