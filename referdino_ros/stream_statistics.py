# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Rates and delays of the stream over the last seconds, for the diagnostics."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StreamReport:
    """What the stream did lately; delays are None while there is no answer.

    Attributes:
        rate: answered images per second.
        latency: median seconds from the arrival of an image to the publication of its answer.
        latency_worst: the longest of them.
        inference: median seconds that the session took for an image.
        image_age: median seconds from an image's stamp to the publication of its answer, by the
            node's clock; means something where the camera's clock agrees.
        answered: images answered since the start.
    """

    rate: float = 0.0
    latency: float | None = None
    latency_worst: float | None = None
    inference: float | None = None
    image_age: float | None = None
    answered: int = 0


@dataclass(frozen=True)
class _Answer:
    time: float
    latency: float
    inference: float
    image_age: float | None


class StreamStatistics:
    """Collects the delays of answered images; safe to use from several threads.

    Args:
        period: seconds that a report looks back.
        clock: seconds that never go back.
    """

    def __init__(self, period: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: deque[_Answer] = deque()
        self._answered = 0
        self._start = clock()

    def record(self, latency: float, inference: float, image_age: float | None) -> None:
        """Note an answered image; all in seconds, see `StreamReport`.

        Args:
            image_age: None where the image bears no time of the node's clock.
        """
        now = self._clock()
        with self._lock:
            self._answered += 1
            self._answers.append(_Answer(now, latency, inference, image_age))
            self._forget_before(now - self._period)

    def report(self) -> StreamReport:
        """Figures over the last period."""
        now = self._clock()
        with self._lock:
            self._forget_before(now - self._period)
            answers = list(self._answers)
            answered = self._answered
        looked_back = max(min(self._period, now - self._start), 1e-3)
        return StreamReport(
            rate=len(answers) / looked_back,
            latency=_median([answer.latency for answer in answers]),
            latency_worst=max((answer.latency for answer in answers), default=None),
            inference=_median([answer.inference for answer in answers]),
            image_age=_median(
                [answer.image_age for answer in answers if answer.image_age is not None]
            ),
            answered=answered,
        )

    def _forget_before(self, time_limit: float) -> None:
        while self._answers and self._answers[0].time < time_limit:
            self._answers.popleft()


def _median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None
