# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m referdino_core.follow_evaluation`: seeded episodes, one table.

The simulation waits for every result, so that a slow computer gives the same result; with
--real-time it does not.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from referdino_core.argument_types import (
    non_negative_integer,
    non_negative_number,
    positive_integer,
    positive_number,
)
from referdino_core.errors import ReferDINOError
from referdino_core.files import AtomicFile
from referdino_core.follow_evaluation.contestants import (
    BallTracker,
    Contestant,
    Nav2Follower,
    ReferdinoFollower,
)
from referdino_core.follow_evaluation.evaluation import Stage, evaluate, schedule
from referdino_core.follow_evaluation.perception import (
    GroundTruthPerception,
    Perception,
    SessionPerception,
)
from referdino_core.follow_evaluation.results import Journal, as_json, markdown, summaries
from referdino_core.follow_evaluation.running import EpisodeResult, Timing
from referdino_core.following import Mounting
from referdino_core.session import Session
from referdino_core.simulation import DISTANCES, SPLITS, DriveSettings

_FOLLOWERS = ("referdino", "nav2", "ball-tracker")
_LOOKED_AT = 2.9
"""Metres ahead of the camera that it looks at, at a quarter metre above the floor."""


def main() -> None:
    """Parse the command line, run, print."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.films and not arguments.out:
        parser.error("--films needs --out, the folder to put them in")
    logging.getLogger("referdino").setLevel(logging.ERROR)
    height = arguments.camera_height
    mounting = Mounting(x=0.1, z=height, pitch=math.atan2(height - 0.25, _LOOKED_AT - 0.7))
    timing = Timing(1 / arguments.rate, arguments.latency, arguments.real_time)
    planned = schedule(arguments.episodes, arguments.split or SPLITS, arguments.first)
    try:
        journal = Journal(arguments.out, _settings(arguments))
        drive = DriveSettings(drift=arguments.drift)
        perception = _perception(arguments.perception, arguments.model)
        followers = [_follower(name, mounting) for name in arguments.follower or _FOLLOWERS]
        with Stage(mounting, drive, tuple(arguments.distance)) as stage:
            films = arguments.out / "films" if arguments.films else None
            results = _run(stage, perception, followers, planned, timing, films, journal)
        _report(arguments, len(planned), results)
    except ReferDINOError as error:
        sys.exit(str(error))


def _report(arguments: argparse.Namespace, episodes: int, results: list[EpisodeResult]) -> None:
    """Print the table, and write it where that was asked for."""
    rows = summaries(results)
    seen_by = arguments.model if arguments.perception == "session" else "the ground truth"
    least, most = arguments.distance
    told = (
        f"{episodes} episodes, seen by {seen_by}, camera at {arguments.camera_height:g} m, "
        f"{least:g} to {most:g} m to keep, {arguments.rate:g} images per second, "
        f"{1000 * arguments.latency:.0f} ms latency"
        f"{' and what perception takes here' if arguments.real_time else ''}\n\n{markdown(rows)}\n"
    )
    print(told)
    if arguments.out:
        AtomicFile(arguments.out / "table.md").write(told.encode())
        table = json.dumps(as_json(results), indent=1)
        AtomicFile(arguments.out / "table.json").write(table.encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m referdino_core.follow_evaluation", description=__doc__
    )
    parser.add_argument(
        "--episodes", type=positive_integer, default=60, help="in all, the splits in turn"
    )
    parser.add_argument(
        "--first", type=non_negative_integer, default=0, help="index of each split's first episode"
    )
    parser.add_argument(
        "--split", choices=SPLITS, action="append", help="only this one; repeatable"
    )
    parser.add_argument(
        "--follower", choices=_FOLLOWERS, action="append", help="only this one; repeatable"
    )
    parser.add_argument(
        "--perception",
        choices=("session", "ground-truth"),
        default="session",
        help="what the robot sees by; the ground truth separates steering from seeing",
    )
    parser.add_argument("--model", default="nano", help="a model's name or a checkpoint's path")
    parser.add_argument(
        "--camera-height", type=positive_number, default=1.0, help="metres above the floor"
    )
    parser.add_argument(
        "--distance",
        type=positive_number,
        nargs=2,
        default=DISTANCES,
        metavar=("LEAST", "MOST"),
        help="between which the distance to keep is drawn, metres",
    )
    parser.add_argument("--rate", type=positive_number, default=10.0, help="images per second")
    parser.add_argument(
        "--latency", type=non_negative_number, default=0.1, help="seconds from image to result"
    )
    parser.add_argument(
        "--real-time",
        action="store_true",
        help="the time that perception takes on this computer comes on top of the latency",
    )
    parser.add_argument(
        "--drift", type=non_negative_number, default=0.0, help="of the odometry, as a fraction"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for table.md, table.json and a journal to resume from"
    )
    parser.add_argument(
        "--films", action="store_true", help="a video of every episode, in OUT/films"
    )
    return parser


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a result depends on, beside its episode and follower."""
    names = (
        "perception",
        "model",
        "camera_height",
        "distance",
        "rate",
        "latency",
        "drift",
        "real_time",
    )
    return {name: getattr(arguments, name) for name in names}


def _perception(kind: str, model: str) -> Perception:
    return GroundTruthPerception() if kind == "ground-truth" else SessionPerception(Session(model))


def _follower(name: str, mounting: Mounting) -> Contestant:
    if name == "referdino":
        return ReferdinoFollower(mounting)
    return Nav2Follower(mounting) if name == "nav2" else BallTracker()


def _run(
    stage: Stage,
    perception: Perception,
    followers: list[Contestant],
    planned: list[tuple[str, int]],
    timing: Timing,
    films: Path | None,
    journal: Journal,
) -> list[EpisodeResult]:
    results = list(journal.results)
    total = len(planned) * len(followers)
    done_before = {(one.split, one.index, one.follower) for one in results}
    with tqdm(total=total, initial=len(results), unit="episode", file=sys.stderr) as bar:
        for result in evaluate(stage, perception, followers, planned, timing, films, done_before):
            results.append(result)
            journal.add(result)
            done = sum(one.success for one in results if one.follower == followers[0].name)
            bar.set_postfix_str(f"{followers[0].name}: {done} reached")
            bar.update()
    return results


if __name__ == "__main__":
    main()
