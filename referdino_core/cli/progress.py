# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars that suit both a terminal and a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES_OF_A_LOG = 10.0


def progress_bar(**settings: Any) -> tqdm:
    """A tqdm bar on standard error, redrawn rarely where that is no terminal."""
    interval = 0.1 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES_OF_A_LOG
    return tqdm(mininterval=interval, maxinterval=interval, file=sys.stderr, **settings)
