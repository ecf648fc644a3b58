# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars for terminals and log files, graceful interruption, exit statuses."""

from __future__ import annotations

import signal
import sys
from enum import IntEnum
from types import FrameType, TracebackType
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


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulShutdown:
    """While entered, the first interrupt only sets `requested`; the second one interrupts as usual.

    For the main thread of a program, where Python delivers signals.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> GracefulShutdown:
        self._previous = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        say("finishing this frame, then stopping")


class ExitStatus(IntEnum):
    """Exit statuses of `referdino`; argparse itself ends with WRONG_USAGE."""

    DONE = 0
    ERROR = 1
    WRONG_USAGE = 2
    INTERRUPTED = 130
