# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The stream as a robot uses it: commands in, targets out, frame by frame."""

from referdino_core.session.session import Session
from referdino_core.session.target import Target, TargetState

__all__ = ["Session", "Target", "TargetState"]
