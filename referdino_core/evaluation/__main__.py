# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m referdino_core.evaluation`: score unseen clips of the world and print a table."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from referdino_core.configuration import SessionSettings
from referdino_core.errors import ReferDINOError
from referdino_core.evaluation.hidden_targets import evaluate_identity, identity_table
from referdino_core.evaluation.world_clips import INFERENCES, evaluate_world, table
from referdino_core.session import Session


def main() -> None:
    """Parse the command line, evaluate, print."""
    parser = argparse.ArgumentParser(
        prog="python -m referdino_core.evaluation", description=__doc__
    )
    parser.add_argument("--model", default="nano", help="a model's name or a checkpoint's path")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--clips", type=int, default=500, help="how many clips, from the first")
    parser.add_argument(
        "--inference",
        choices=(*INFERENCES, "both"),
        default="both",
        help="streaming judges a frame by those before it, whole-clip (the paper's) by all",
    )
    parser.add_argument(
        "--identity",
        action="store_true",
        help="instead, hide each clip's target for two seconds and see where its id goes",
    )
    parser.add_argument("--accept", type=float, help="score that takes up a target")
    parser.add_argument("--keep", type=float, help="score below which a target is not seen")
    parser.add_argument("--out", type=Path, help="file that the table is also written to")
    arguments = parser.parse_args()
    logging.getLogger("referdino").setLevel(logging.ERROR)
    defaults = SessionSettings()
    accept = defaults.accept if arguments.accept is None else arguments.accept
    keep = min(defaults.keep, accept) if arguments.keep is None else arguments.keep
    try:
        settings = replace(defaults, accept=accept, keep=keep)
    except ReferDINOError as error:
        parser.error(str(error))
    session = Session(arguments.model, settings=settings)
    clips = range(arguments.clips)
    if arguments.identity:
        ways = "streaming"
        figures = identity_table(evaluate_identity(session, arguments.split, clips))
    else:
        inferences = tuple(INFERENCES) if arguments.inference == "both" else (arguments.inference,)
        ways = " and ".join(inferences)
        figures = table(evaluate_world(session, arguments.split, clips, inferences))
    report = (
        f"{arguments.model}, {arguments.clips} clips of the {arguments.split} split (indices 0 to "
        f"{arguments.clips - 1}), {ways}; streaming with {session.settings}\n\n{figures}\n"
    )
    print(report)
    if arguments.out:
        arguments.out.write_text(report)


if __name__ == "__main__":
    main()
