# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Command-line interface: the program `referdino`."""

import sys
from collections.abc import Sequence

from referdino_core.cli.progress import ExitStatus
from referdino_core.cli.standard_streams import secured_standard_streams

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with the given arguments, by default `sys.argv`; returns its exit status.

    Ctrl-C ends it with one line, even while it is being loaded.
    """
    with secured_standard_streams():
        try:
            from referdino_core.cli.program import main as run

            return run(argv)
        except KeyboardInterrupt:
            print("referdino: stopped", file=sys.stderr)
            return ExitStatus.INTERRUPTED
