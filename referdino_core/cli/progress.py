# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars for terminals and log files, graceful interruption, exit statuses."""

from __future__ import annotations

import signal
import sys
import threading
from enum import IntEnum
from types import FrameType, TracebackType
from typing import Any

from tqdm import tqdm

from referdino_core.user_files import legible

_SECONDS_BETWEEN_LINES_OF_A_LOG = 10.0


def progress_bar(**settings: Any) -> tqdm:
    """A tqdm bar on standard error, redrawn rarely if that is not a terminal."""
    if sys.stderr.isatty():
        return tqdm(mininterval=0.1, maxinterval=0.1, file=sys.stderr, **settings)
    interval = _SECONDS_BETWEEN_LINES_OF_A_LOG
    return _LoggedBar(mininterval=interval, maxinterval=interval, file=sys.stderr, **settings)


class _LoggedBar(tqdm):
    """A bar for log files: every state is a line of its own, except the first."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if self.n:
            print(msg or self, file=self.fp, flush=True)


def say(line: str) -> None:
    """Print a line on standard error, above the progress bar if one is drawn."""
    text = f"referdino: {legible(line)}"
    if sys.stderr.isatty():
        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulShutdown:
    """Context in which the first interrupt only sets a flag; the second one interrupts as usual.

    For the main thread of a program, where Python delivers signals.

    Attributes:
        cancelled: the flag, as `ProgressMonitor` takes it.
    """

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether the flag is set."""
        return self.cancelled.is_set()

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
        self.cancelled.set()
        say("finishing this frame, then stopping")


class ExitStatus(IntEnum):
    """Exit statuses of `referdino`; argparse itself exits with WRONG_USAGE."""

    DONE = 0
    ERROR = 1
    WRONG_USAGE = 2
    INTERRUPTED = 130
