# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino replay` of many recordings: workers, progress, and the table of results."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tqdm import tqdm

from referdino_core.argument_types import positive_integer
from referdino_core.cli.progress import ExitStatus, GracefulShutdown, progress_bar
from referdino_core.errors import Cancelled, RuntimeUnavailable, SourceError
from referdino_core.progress import Progress, ProgressMonitor

if TYPE_CHECKING:
    from referdino_core.batch.batch import BatchProgress, Workers
    from referdino_core.batch.outcomes import RunOutcome
    from referdino_core.replay.opening import ReplayJob

_BAR = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}{postfix}]"

_logger = logging.getLogger("referdino.replay")


def add_many_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --list, --workers and --ray-address."""
    parser.add_argument(
        "--list", type=Path, metavar="FILE", help="further sources, one per line (# for comments)"
    )
    parser.add_argument(
        "--workers",
        type=positive_integer,
        default=1,
        metavar="N",
        help="number of recordings replayed in parallel (default: 1; more need Ray)",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="address of a running Ray cluster with access to the files, such as auto or "
        "10.0.0.1:6379",
    )


def is_many(arguments: argparse.Namespace) -> bool:
    """Whether the sources are several recordings, or a folder of them."""
    from referdino_core.batch.recordings import holds_recordings

    if arguments.list is not None or len(arguments.sources) != 1:
        return True
    return holds_recordings(arguments.sources[0])


def replay_many(arguments: argparse.Namespace, common: ReplayJob) -> int:
    """Replay all recordings and return the exit status.

    Args:
        common: options of every run; its source and folder are ignored.

    Raises:
        ReferDINOError: an argument is invalid, or the model or the workers are not available.
    """
    if arguments.out is None:
        raise SourceError("Many recordings need a folder for their runs; give --out DIR.")
    work = _workers(arguments.workers, arguments.ray_address)
    from referdino_core.batch.batch import Batch, replay_batch
    from referdino_core.batch.recordings import find_recordings, read_list

    listed = [] if arguments.list is None else read_list(arguments.list)
    recordings = find_recordings([*arguments.sources, *listed], arguments.out)
    batch = Batch(tuple(recordings), common, arguments.out, _can_report(arguments.no_report))
    with GracefulShutdown() as stop, progress_bar(total=len(recordings), bar_format=_BAR) as bar:
        shown = _Shown(bar)
        monitor = ProgressMonitor(shown.progress, stop.cancelled)
        try:
            summary = replay_batch(batch, work, monitor, shown.outcome)
        except Cancelled as cancelled:
            _logger.warning("%s", cancelled)
            return ExitStatus.INTERRUPTED
    print_batch(summary)
    print(arguments.out)
    return ExitStatus.ERROR if summary["failed"] else ExitStatus.DONE


class _Shown:
    """The progress bar over all workers."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar
        self._began = 0.0

    def progress(self, progress: Progress) -> None:
        """Show a `BatchProgress`."""
        frames = cast("BatchProgress", progress).frames
        now = time.monotonic()
        if not frames:  # the model is still being loaded
            self._began = now
        rate = frames / max(now - self._began, 1e-3)
        bar = self._bar
        bar.set_description_str(progress.phase, False)
        bar.set_postfix_str(f"{rate:.1f} frames/s", refresh=False)
        bar.update(max(0.0, progress.done - bar.n))

    def outcome(self, outcome: RunOutcome) -> None:
        """Log the failure of a recording."""
        if outcome.failure is not None:
            _logger.warning("%s failed: %s", outcome.name, outcome.failure)


def print_batch(summary: Mapping[str, Any]) -> None:
    """Print a line per recording, the totals, and what failed."""
    print(_LINE.format("", "frames", *_COLUMNS, "problems"))
    for run in summary["runs"]:
        if run["failure"] is None:
            frames, problems = run["frames"]["read"], len(run["problems"])
            print(_score_line(run["name"], frames, run["scores"], problems))
    total = summary["frames"]["read"]
    print(_score_line("all", total, summary["scores"], summary["with_problems"]))
    print(
        f"{summary['done']} of {summary['recordings']} recordings, {len(summary['failed'])} failed"
    )
    for one in summary["failed"]:
        print(f"failed: {one['name']} ({one['source']}): {one['reason']}")


_COLUMNS = {
    "J&F": "J&F",
    "J": "J",
    "F": "F",
    "acquired": "time to acquire",
    "IDF1": "IDF1",
    "lost": "frames lost",
    "alarms": "false alarms",
}
"""Column headings of the table of scores, and their metrics."""
_LINE = "{:<32.32} {:>8} {:>5} {:>5} {:>5} {:>16} {:>5} {:>6} {:>6} {:>8}"


def _score_line(name: str, frames: int, scores: Mapping[str, Any] | None, problems: int) -> str:
    from referdino_core.report.metrics import metric_named

    cells = (metric_named(one).text(scores or {}) for one in _COLUMNS.values())
    return _LINE.format(name, frames, *cells, problems or "–")


def _workers(count: int, address: str | None) -> Workers:
    """The workers that process the batch.

    Raises:
        RuntimeUnavailable: Ray is needed and not installed.
    """
    if count == 1 and address is None:
        from referdino_core.batch.batch import replay_in_process

        return replay_in_process
    if find_spec("ray") is None:
        asked = "--workers above 1" if address is None else "--ray-address"
        raise RuntimeUnavailable(
            f"{asked} needs Ray; install it with: pip install ray, or leave the option out."
        )
    from referdino_core.batch.ray_workers import RayWorkers

    return RayWorkers(count, address)


def _can_report(unwanted: bool) -> bool:
    """Whether to write a report per run."""
    if unwanted:
        return False
    if find_spec("plotly") is None:
        _logger.warning("No reports: they need plotly; install it with: pip install plotly")
        return False
    return True
