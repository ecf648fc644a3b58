# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino report`: rewrite the report of a run."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from referdino_core.cli.progress import ExitStatus

_DESCRIPTION = """Rewrites report.html of a run: one page with its scores, timelines, images and
video, which opens in any browser and needs no network."""

_EPILOG = """examples:
  referdino report hall_referdino
  referdino report runs/monday runs/tuesday"""


_logger = logging.getLogger("referdino.report")


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `report` to the commands of the program."""
    parser = commands.add_parser(
        "report",
        parents=[common],
        help="rewrite the report of a run",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder written by `referdino replay`"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the reports, print their paths, and return the exit status.

    Raises:
        ReferDINOError: a folder holds no complete run, or its page cannot be written.
    """
    from referdino_core.replay.run_folder import RunFolder
    from referdino_core.report import write_report

    for folder in arguments.runs:
        print(write_report(folder))
        if RunFolder(folder).is_being_replaced:
            _logger.warning(
                "The report shows the complete run in %s; a later one there is unfinished.", folder
            )
    return ExitStatus.DONE
