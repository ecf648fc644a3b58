# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Errors that repeat, figures for the diagnostics, and the core's log lines in the node's log."""

from __future__ import annotations

import logging

import pytest

from referdino_ros.diagnostics import StreamStatistics
from referdino_ros.error_log import DISTINCT_PER_PERIOD, ErrorLog
from referdino_ros.process import forward_core_log, stop_forwarding


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_repeated_error_is_logged_once_in_a_period_and_counted(clock: Clock) -> None:
    lines: list[str] = []
    errors = ErrorLog(lines.append, lambda: 10.0, clock)
    for _ in range(50):
        errors.report("image", "no pixels")
    assert lines == ["no pixels"]

    clock.now += 10.0
    errors.report("image", "no pixels")

    assert lines == ["no pixels", "no pixels (49 more like it were not shown.)"]
    assert errors.count == 51
    assert errors.last is not None
    assert (errors.last.message, errors.last.time) == ("no pixels", 110.0)


def test_a_different_error_is_logged_at_once_but_a_flood_of_them_is_not(clock: Clock) -> None:
    lines: list[str] = []
    errors = ErrorLog(lines.append, lambda: 10.0, clock)
    for size in range(100):
        errors.report("image", f"{size} bytes")
    errors.report("command", "too long")

    assert lines == [*(f"{size} bytes" for size in range(DISTINCT_PER_PERIOD)), "too long"]
    assert errors.count == 101
    assert errors.last is not None
    assert errors.last.message == "too long"


def test_without_a_period_every_error_is_logged(clock: Clock) -> None:
    lines: list[str] = []
    errors = ErrorLog(lines.append, lambda: 0.0, clock)
    for _ in range(3):
        errors.report("image", "no pixels")

    assert lines == ["no pixels"] * 3


def test_figures_look_back_over_the_period(clock: Clock) -> None:
    statistics = StreamStatistics(period=5.0, clock=clock)
    clock.now += 100.0
    statistics.record(latency=9.0, inference=8.0, image_age=10.0)
    clock.now += 6.0
    for latency in (0.1, 0.2, 0.6):
        clock.now += 1.0
        statistics.record(latency, inference=latency / 2, image_age=latency * 2)

    report = statistics.report()

    assert report.rate == pytest.approx(3 / 5.0)
    assert report.latency == pytest.approx(0.2)
    assert report.latency_worst == pytest.approx(0.6)
    assert report.inference == pytest.approx(0.1)
    assert report.image_age == pytest.approx(0.4)
    assert report.processed == 4


def test_there_are_no_figures_before_the_first_result(clock: Clock) -> None:
    report = StreamStatistics(clock=clock).report()

    assert (report.rate, report.processed) == (0.0, 0)
    assert report.latency is None
    assert report.inference is None


class RecordingLogger:
    """Has the methods of rclpy's logger that the bridge calls."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __getattr__(self, severity: str) -> object:
        return lambda line: self.lines.append((severity, line))


def test_core_log_lines_reach_the_ros_logger_with_their_severity() -> None:
    ros = RecordingLogger()
    core = logging.getLogger("referdino.session")
    handler = forward_core_log(ros)
    try:
        core.debug("detail")
        core.info("loaded in %.1f s", 2.0)
        core.warning("stamp jumped back")
        core.error("broken")
        core.critical("gone")
    finally:
        stop_forwarding(handler)
    core.warning("after the end")

    assert ros.lines == [
        ("debug", "detail"),
        ("info", "loaded in 2.0 s"),
        ("warning", "stamp jumped back"),
        ("error", "broken"),
        ("fatal", "gone"),
    ]
