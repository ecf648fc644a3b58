# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Progress reports and cancellation."""

from __future__ import annotations

import pytest

from referdino_core.errors import Cancelled
from referdino_core.progress import Progress, ProgressMonitor


@pytest.mark.parametrize(
    ("progress", "fraction"),
    [
        (Progress(0.25), 0.25),
        (Progress(3, 12), 0.25),
        (Progress(13, 12), 1.0),
        (Progress(3, None), 0.0),
        (Progress(0, 0), 0.0),
    ],
)
def test_fraction_is_of_the_whole_where_that_is_known(progress: Progress, fraction: float) -> None:
    assert progress.fraction == fraction


def test_a_subtask_reports_under_its_phase_and_is_cancelled_with_the_task() -> None:
    reports: list[Progress] = []
    monitor = ProgressMonitor(reports.append)
    subtask = monitor.with_phase("building engine")
    subtask.report(3, 4, "timing")
    assert reports == [Progress(3, 4, "building engine")]
    subtask.check("The build")
    monitor.cancelled.set()
    with pytest.raises(Cancelled, match=r"^The build was cancelled\.$"):
        subtask.check("The build")


def test_a_monitor_of_its_own_discards_reports_and_is_not_cancelled_with_others() -> None:
    ProgressMonitor().cancelled.set()
    monitor = ProgressMonitor()
    assert not monitor.cancelled.is_set()
    monitor.report(0.5)
    monitor.check("The task")
