# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""referdino's core: the network, its stream and its tools; knows nothing of ROS.

Names are imported when they are first used, so that a command line with a mistake in it, or a
node that is starting, need not wait for PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.building import build, load_checkpoint
    from referdino_core.configuration import NetworkConfiguration, SessionSettings
    from referdino_core.errors import (
        CameraImageError,
        CheckpointError,
        CommandError,
        ImageError,
        InferenceError,
        ReferDINOError,
        SourceError,
    )
    from referdino_core.installation import capabilities
    from referdino_core.network.predictions import ClipPrediction, FramePrediction
    from referdino_core.network.referdino import ReferDINO
    from referdino_core.session import CameraGroup, CommandRequest, Session
    from referdino_core.target import Judgement, Target, TargetState

_HOMES = {
    "CameraGroup": "session",
    "CameraImageError": "errors",
    "CheckpointError": "errors",
    "ClipPrediction": "network.predictions",
    "CommandError": "errors",
    "CommandRequest": "session",
    "FramePrediction": "network.predictions",
    "ImageError": "errors",
    "InferenceError": "errors",
    "Judgement": "target",
    "NetworkConfiguration": "configuration",
    "ReferDINO": "network.referdino",
    "ReferDINOError": "errors",
    "Session": "session",
    "SessionSettings": "configuration",
    "SourceError": "errors",
    "Target": "target",
    "TargetState": "target",
    "build": "building",
    "capabilities": "installation",
    "load_checkpoint": "building",
}

__all__ = [
    "CameraGroup",
    "CameraImageError",
    "CheckpointError",
    "ClipPrediction",
    "CommandError",
    "CommandRequest",
    "FramePrediction",
    "ImageError",
    "InferenceError",
    "Judgement",
    "NetworkConfiguration",
    "ReferDINO",
    "ReferDINOError",
    "Session",
    "SessionSettings",
    "SourceError",
    "Target",
    "TargetState",
    "build",
    "capabilities",
    "load_checkpoint",
]


if not TYPE_CHECKING:  # or a misspelt name would pass
    __getattr__ = lazy_names(__name__, _HOMES)
