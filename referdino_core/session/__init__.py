# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions: commands in, targets out, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.session.cameras import CameraGroup
    from referdino_core.session.command_request import CommandRequest
    from referdino_core.session.session import Session

__all__ = ["CameraGroup", "CommandRequest", "Session"]

if not TYPE_CHECKING:  # or a misspelt name would pass
    __getattr__ = lazy_names(
        __name__,
        {
            "CameraGroup": "cameras",
            "CommandRequest": "command_request",
            "Session": "session",
        },
    )
