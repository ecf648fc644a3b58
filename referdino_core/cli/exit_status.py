# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the program tells the shell when it ends."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of `referdino`; argparse itself ends with WRONG_USAGE."""

    DONE = 0
    ERROR = 1
    WRONG_USAGE = 2
    INTERRUPTED = 130
