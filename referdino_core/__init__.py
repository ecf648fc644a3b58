# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""referdino's core: the network, its stream and its tools; knows nothing of ROS."""

from referdino_core.building import build
from referdino_core.checkpoint import load_checkpoint
from referdino_core.configuration import NetworkConfiguration, SessionSettings
from referdino_core.errors import (
    CheckpointError,
    CommandError,
    ImageError,
    ReferDINOError,
    SourceError,
)

__all__ = [
    "CheckpointError",
    "CommandError",
    "ImageError",
    "NetworkConfiguration",
    "ReferDINOError",
    "SessionSettings",
    "SourceError",
    "build",
    "load_checkpoint",
]
