# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The program `referdino`: parses the command line, runs a command, reports errors in one line.

Exit status: 0 success; 1 an error, reported in one line; 2 invalid command line; 130 stopped by
Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from referdino_core.cli import (
    build_engine,
    compare,
    data,
    download,
    evaluate,
    export,
    info,
    replay,
    report,
    segment,
    train,
)
from referdino_core.cli.progress import ExitStatus, say
from referdino_core.errors import ReferDINOError
from referdino_core.files import OutputError
from referdino_core.media.sources import quiet_opencv
from referdino_core.user_files import legible

_EPILOG = """examples:
  referdino segment street.mp4 "the cyclist in the red jacket"
  referdino segment frames/ "a dog" "the person who throws the ball" --out results
  referdino download ryt_swinb bert
  referdino info

referdino COMMAND --help describes each command."""


class _OneLineHandler(logging.Handler):
    """Log handler that prints records above a running progress bar instead of into it."""

    def emit(self, record: logging.LogRecord) -> None:
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        say(f"{level}{record.getMessage()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with the given arguments, by default `sys.argv`; returns its exit status.

    Raises:
        KeyboardInterrupt: it was stopped by Ctrl-C.
    """
    try:
        arguments = _arguments(argv)
    except OutputError as error:  # of --help
        return _report(str(error))
    except BrokenPipeError:
        return ExitStatus.ERROR  # the reader of the help is gone
    quiet_opencv()
    with _log_on_standard_error(), warnings.catch_warnings():
        if not arguments.debug:
            warnings.simplefilter("ignore")
        return _run_reporting_errors(arguments)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    try:
        return _parser().parse_args(argv)
    except SystemExit:
        sys.stdout.flush()  # the help, which may wait in a buffer
        raise


def _run_reporting_errors(arguments: argparse.Namespace) -> int:
    try:
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except ReferDINOError as error:
        return _report(str(error))
    except BrokenPipeError:
        return ExitStatus.ERROR  # the reader of the output is gone
    except Exception as error:
        if arguments.debug:
            raise
        return _report(
            f"unexpected {type(error).__name__}: {error}; run again with --debug to see where it "
            "comes from"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="referdino",
        description="Finds the object that a sentence describes in a video, frame by frame.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        help="show the traceback of unexpected errors, and warnings of libraries",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
        segment,
        replay,
        evaluate,
        train,
        data,
        report,
        compare,
        info,
        download,
        export,
        build_engine,
    ):
        command.add_command(commands, common)
    return parser


@contextmanager
def _log_on_standard_error() -> Iterator[None]:
    logger = logging.getLogger("referdino")
    level, propagates, handler = logger.level, logger.propagate, _OneLineHandler()
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
        logger.setLevel(level)


def _report(message: str) -> int:
    print(f"referdino: error: {legible(' '.join(message.split()))}", file=sys.stderr)
    return ExitStatus.ERROR
