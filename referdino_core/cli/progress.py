# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars that suit both a terminal and a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from referdino_core.user_files import legible

_SECONDS_BETWEEN_LINES_OF_A_LOG = 10.0


def progress_bar(**settings: Any) -> tqdm:
    """A tqdm bar on standard error, redrawn rarely where that is no terminal."""
    if sys.stderr.isatty():
        return tqdm(mininterval=0.1, maxinterval=0.1, file=sys.stderr, **settings)
    interval = _SECONDS_BETWEEN_LINES_OF_A_LOG
    return _LoggedBar(mininterval=interval, maxinterval=interval, file=sys.stderr, **settings)


class _LoggedBar(tqdm):
    """A bar that gives every state a line of its own, and none to the beginning."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self.n:
            print(msg or self, file=self.fp, flush=True)


def say(line: str) -> None:
    """Print a line of the program on standard error, above a progress bar where one is drawn."""
    told = f"referdino: {legible(line)}"
    if sys.stderr.isatty():
        tqdm.write(told, file=sys.stderr)
    else:
        print(told, file=sys.stderr, flush=True)
