# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino compare`: comparison page of two runs, or of two folders of runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from referdino_core.cli.progress import ExitStatus

DEFAULT_OUT = Path("comparison.html")

_DESCRIPTION = """Compares two runs over the same source: differences with confidence intervals,
the best and worst frames side by side, and both timelines in one plot.

Two folders of runs are compared run by run, by their names; intervals are then over the clips."""

_EPILOG = """examples:
  referdino compare runs/monday runs/tuesday
  referdino compare runs/nano runs/swint --out nano_and_swint.html"""


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `compare` to the commands of the program."""
    parser = commands.add_parser(
        "compare",
        parents=[common],
        help="compare two runs on one page",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", type=Path, metavar="RUN_A", help="the baseline run")
    parser.add_argument("second", type=Path, metavar="RUN_B", help="the run to compare with it")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", default=DEFAULT_OUT, help=f"default: {DEFAULT_OUT}"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the page, print its path, and return the exit status.

    Raises:
        ReferDINOError: a folder holds no complete run, the runs are of different sources, or the
            page cannot be written.
    """
    from referdino_core.report import write_comparison

    print(write_comparison(arguments.first, arguments.second, arguments.out))
    return ExitStatus.DONE
