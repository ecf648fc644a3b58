# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What ends a demo before its time."""

from referdino_core.errors import ReferDINOError


class DemoError(ReferDINOError):
    """The demo cannot go on, or a command got no answer; the message says what to do."""
