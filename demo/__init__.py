# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Live demo, `python -m demo`: camera, node and commander as processes on a ROS graph."""

from referdino_core.errors import ReferDINOError


class DemoError(ReferDINOError):
    """The demo failed, or a command got no result; the message says what to do."""
