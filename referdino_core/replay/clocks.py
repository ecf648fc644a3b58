# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Clocks of a replay: process every frame, or drop frames as a real-time system does."""

from __future__ import annotations

import csv
import json
import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.replay.recording import NANOSECONDS
from referdino_core.user_files import read_text, user_path

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_TIME = re.compile(r"(?P<number>\d+\.?\d*|\.\d+)\s*(?P<unit>s|ms|us)")
_LONGEST_LIKELY = 5.0  # seconds; more in a table are probably milliseconds

_logger = logging.getLogger("referdino.replay")


class Arriving(Protocol):
    """Anything with an arrival time, in integer nanoseconds."""

    @property
    def arrival(self) -> int: ...


Frame = TypeVar("Frame", bound=Arriving)


@dataclass(frozen=True)
class Scheduled(Generic[Frame]):
    """A frame and when it is processed.

    Attributes:
        frame: as it was given.
        taken: nanoseconds at which processing starts; None if a newer frame replaced it.
        finished: nanoseconds at which its result is available; None likewise.
    """

    frame: Frame
    taken: int | None
    finished: int | None

    @property
    def delay(self) -> float | None:
        """Seconds from the frame's arrival to its result; None if it was dropped."""
        return None if self.finished is None else (self.finished - self.frame.arrival) / NANOSECONDS


@dataclass(frozen=True)
class EveryFrame:
    """A clock that stands still while the model computes: no frame is dropped."""

    has_delays: ClassVar[bool] = False

    def schedule(self, frames: Iterable[Frame]) -> Iterator[Scheduled[Frame]]:
        """Schedule each frame, in order."""
        for frame in frames:
            yield Scheduled(frame, frame.arrival, frame.arrival)

    def summary(self) -> dict[str, Any]:
        """For the run's summary."""
        return {"kind": "every frame"}


@dataclass(frozen=True)
class RealTimeClock:
    """A simulated real-time clock with a queue of one frame, of which the newest wins.

    Attributes:
        latencies: nanoseconds that the model takes per frame, repeated cyclically.
        description: their origin.
    """

    has_delays: ClassVar[bool] = True

    latencies: tuple[int, ...]
    description: str

    def schedule(self, frames: Iterable[Frame]) -> Iterator[Scheduled[Frame]]:
        """Schedule each frame, in order; holds back at most one frame."""
        latencies = cycle(self.latencies)
        free = -math.inf
        waiting: Frame | None = None
        for frame in frames:
            if waiting is not None and free <= frame.arrival:
                scheduled = _take(waiting, int(free), next(latencies))
                free = scheduled.finished or 0
                waiting = None
                yield scheduled
            elif waiting is not None:
                yield Scheduled(waiting, None, None)
                waiting = None
            if free <= frame.arrival:
                scheduled = _take(frame, frame.arrival, next(latencies))
                free = scheduled.finished or 0
                yield scheduled
            else:
                waiting = frame
        if waiting is not None:
            yield _take(waiting, int(free), next(latencies))

    def summary(self) -> dict[str, Any]:
        """For the run's summary."""
        seconds = [latency / NANOSECONDS for latency in self.latencies]
        return {
            "kind": "as live",
            "latency": {
                "from": self.description,
                "frames": len(seconds),
                "mean": sum(seconds) / len(seconds),
                "worst": max(seconds),
            },
        }


Clock = EveryFrame | RealTimeClock


def _take(frame: Frame, time: int, latency: int) -> Scheduled[Frame]:
    return Scheduled(frame, time, time + latency)


def read_clock(text: str) -> RealTimeClock:
    """Parse the value of --realtime-on.

    Args:
        text: a constant latency with its unit (s, ms, us), such as "40ms" or "0.04s"; or the
            path of a table: JSON (a list of seconds), JSON lines (such as a run's timing.jsonl) or
            CSV (seconds in the column "seconds", else in the last one).

    Raises:
        SourceError: it is neither, or the table is empty or damaged.
    """
    path = user_path(text)
    if path.is_file():
        seconds = _read_table(path)
        clock = RealTimeClock(_nanoseconds(seconds, str(path)), path.name)
        _warn_of_units(seconds, path)
        return clock
    time = _TIME.fullmatch(text.strip())
    if time is None:
        raise SourceError(
            f"--realtime-on {text} is neither a time with its unit (s, ms, us) such as 40ms nor a "
            "table that exists (JSON, JSON lines or CSV with the seconds of each frame)."
        )
    return RealTimeClock(_nanoseconds([float(time["number"]) * _UNITS[time["unit"]]], text), text)


def _warn_of_units(seconds: list[float], path: Path) -> None:
    slow = [value for value in seconds if value > _LONGEST_LIKELY]
    if slow:
        _logger.warning(
            "%s: %d of %d latencies are above %g s, up to %g s; a table holds seconds.",
            path, len(slow), len(seconds), _LONGEST_LIKELY, max(slow),
        )  # fmt: skip


def _nanoseconds(seconds: list[float], origin: str) -> tuple[int, ...]:
    if not seconds:
        raise SourceError(f"{origin} holds no latency; give the seconds of at least one frame.")
    for number, value in enumerate(seconds, start=1):
        if not math.isfinite(value) or value < 0:
            raise SourceError(f"{origin}: latency {number} is {value}; give seconds of at least 0.")
    return tuple(round(value * NANOSECONDS) for value in seconds)


def _read_table(path: Path) -> list[float]:
    """Seconds per frame."""
    try:
        text = read_text(path)
        if path.suffix == ".csv":
            return _from_csv(text)
        if path.suffix == ".jsonl":
            return [_of_entry(json.loads(line)) for line in text.splitlines() if line.strip()]
        return [_of_entry(entry) for entry in json.loads(text)]
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise SourceError(
            f"{path} is not a table of latencies: {type(error).__name__}: {error}. Give the "
            "seconds of each frame as JSON, JSON lines or CSV."
        ) from error


def _of_entry(entry: Any) -> float:
    """Seconds: the entry itself, or the inference time of a line of timing.jsonl."""
    seconds = entry["seconds"] if isinstance(entry, dict) else entry
    if isinstance(seconds, dict):
        return float(seconds["infer"])
    return float(seconds)


def _from_csv(text: str) -> list[float]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    column = -1
    if rows and "seconds" in rows[0]:
        column = rows[0].index("seconds")
        rows = rows[1:]
    return [float(row[column]) for row in rows]


@dataclass(frozen=True)
class LatencyPercentiles:
    """The distribution of latencies, in seconds.

    Attributes:
        count: of the latencies.
        median, percentile_90, percentile_95, percentile_99, worst: seconds; between two measured
            values they are interpolated linearly.
    """

    count: int
    median: float
    percentile_90: float
    percentile_95: float
    percentile_99: float
    worst: float


def latency_percentiles(seconds: Sequence[float]) -> LatencyPercentiles | None:
    """Percentiles of latencies in seconds; None if there are none."""
    if not len(seconds):
        return None
    median, *others = np.percentile(np.asarray(seconds, dtype=np.float64), (50, 90, 95, 99, 100))
    return LatencyPercentiles(len(seconds), float(median), *(float(value) for value in others))
