# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Log of repeated errors: logged once per period, counted, and kept for the diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

DISTINCT_PER_PERIOD = 5
"""Maximum number of different messages of one kind that are logged in one period."""


@dataclass(frozen=True)
class ReportedError:
    """An error: its message, and its time in seconds of the monotonic clock."""

    message: str
    time: float


@dataclass
class _Period:
    start: float
    logged: set[str] = field(default_factory=set)
    silenced: int = 0


class ErrorLog:
    """Rate-limited log of errors by kind (such as "image"); thread-safe.

    Within one period a message is logged once, and at most `DISTINCT_PER_PERIOD` different messages
    of a kind; the first line of the next period gives the number of suppressed ones.

    Args:
        log: prints a line, such as `node.get_logger().error`.
        period: returns seconds; called at every report, so that it can change.
        clock: monotonic clock in seconds.
    """

    def __init__(
        self,
        log: Callable[[str], object],
        period: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._periods: dict[str, _Period] = {}
        self._count = 0
        self._last: ReportedError | None = None

    @property
    def count(self) -> int:
        """Number of errors reported so far, logged or suppressed."""
        return self._count

    @property
    def last(self) -> ReportedError | None:
        """The most recent error, or None."""
        return self._last

    def report(self, kind: str, message: str) -> None:
        """Count an error, keep it as the last one, and log it unless it is suppressed."""
        with self._lock:
            now = self._clock()
            self._count += 1
            self._last = ReportedError(message, now)
            line = self._line(kind, message, now)
        if line is not None:
            self._log(line)

    def _line(self, kind: str, message: str, now: float) -> str | None:
        period = self._periods.get(kind)
        silenced = 0
        if period is None or now - period.start >= self._period():
            silenced = period.silenced if period else 0
            period = self._periods[kind] = _Period(start=now)
        if message in period.logged or len(period.logged) >= DISTINCT_PER_PERIOD:
            period.silenced += 1
            return None
        period.logged.add(message)
        return f"{message} ({silenced} more like it were not shown.)" if silenced else message
