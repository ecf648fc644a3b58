# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m referdino_core.evaluation`: score unseen clips of the world and print tables.

Other published models are scored on the same clips where they process streams.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from referdino_core.argument_types import positive_integer
from referdino_core.building import weights_of
from referdino_core.configuration import CONFIGURATIONS, SessionSettings
from referdino_core.errors import ReferDINOError
from referdino_core.evaluation.hidden_targets import evaluate_identity, identity_table
from referdino_core.evaluation.moving_camera import evaluate_moving_camera, moving_camera_table
from referdino_core.evaluation.world_clips import INFERENCES, STREAMING, evaluate_world, table
from referdino_core.files import AtomicFile, OutputError, create_folder
from referdino_core.peers import STREAMING_PEER_NAMES
from referdino_core.session import Session
from referdino_core.session.engine import Engine
from referdino_core.session.model_choice import ModelChoice, load_peer
from referdino_core.user_files import user_path
from referdino_core.world import WorldRenderer, WorldSettings

IDENTITY_SHARE, CAMERA_SHARE, ROBOT_SHARE = 0.24, 0.12, 0.2
"""Of the clips, that identity, each motion of the camera, and a robot's scenes are measured on."""
WARM_UP = 10
"""Images before time is measured."""
PROGRAM = "python -m referdino_core.evaluation"


def main() -> None:
    """Parse the command line, evaluate, print."""
    arguments = parse()
    logging.getLogger("referdino").setLevel(logging.ERROR)
    try:
        evaluate(arguments)
    except ReferDINOError as error:
        sys.exit(f"{PROGRAM}: error: {error}")


def evaluate(arguments: argparse.Namespace) -> None:
    """Measure, and print and write each table as soon as it is known.

    Raises:
        ReferDINOError: the tables cannot be written, or see `open_engine`.
    """
    if arguments.out:
        create_folder(arguments.out.parent)
        if arguments.out.is_dir():
            raise OutputError(f"{arguments.out} is a folder; give the name of a file.")
    session, arguments.weights = open_engine(arguments)
    report = [
        f"{arguments.model}, split {arguments.split}, clips from index 0; streaming with "
        f"{session.settings}"
    ]
    print(report[0])
    for name in arguments.measures:
        report.append(MEASURES[name](session, arguments))
        print(f"\n{report[-1]}", flush=True)
        if arguments.out:
            AtomicFile(arguments.out).write(("\n\n".join(report) + "\n").encode())


def open_engine(arguments: argparse.Namespace) -> tuple[Engine, list[Path]]:
    """The engine of the chosen model, and the files of its weights.

    Raises:
        ReferDINOError: weights or device are unavailable, or the model is not causal.
    """
    name = arguments.model
    if name in STREAMING_PEER_NAMES:
        given = arguments.checkpoint
        loaded = load_peer(ModelChoice(name, None if given is None else user_path(given)))
        return loaded.session, list(loaded.weights)
    weights = [weights_of(name)] if name in CONFIGURATIONS else [user_path(name)]
    return Session(name, settings=arguments.settings), weights


def parse() -> argparse.Namespace:
    """The command line, with the session's `settings`."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "--model",
        default="nano",
        metavar="NAME",
        help=f"a model's name ({', '.join((*CONFIGURATIONS, *STREAMING_PEER_NAMES))}), or the path "
        "of a checkpoint",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="weights of another published model, a folder in the layout of transformers",
    )
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument(
        "--clips",
        type=positive_integer,
        default=500,
        help="how many clips, from the first; some take fewer",
    )
    parser.add_argument(
        "--measures",
        nargs="+",
        choices=tuple(MEASURES),
        default=tuple(MEASURES),
        help="sentences of every kind; those of a robot's scenes; identity while a target is "
        "painted out; a camera that turns and drives; time and size; by default all of them",
    )
    parser.add_argument(
        "--inference",
        choices=(*INFERENCES, "both"),
        help="of the sentences: streaming judges a frame by those before it, whole-clip (the "
        "paper's) by all (default: both, or streaming where a model cannot read whole clips)",
    )
    parser.add_argument("--accept", type=float, help="score that takes up a target")
    parser.add_argument("--keep", type=float, help="score below which a target is not seen")
    parser.add_argument("--out", type=Path, help="file that the tables are also written to")
    arguments = parser.parse_args()
    is_peer = arguments.model in STREAMING_PEER_NAMES
    if is_peer and (arguments.accept is not None or arguments.keep is not None):
        parser.error(f"{arguments.model} has thresholds of its own: leave --accept and --keep out")
    if is_peer and arguments.inference not in (None, STREAMING):
        parser.error(f"{arguments.model} processes streams only: leave --inference out")
    if arguments.checkpoint is not None and not is_peer:
        parser.error("give the path of a checkpoint with --model")
    if arguments.inference is None:
        arguments.inference = STREAMING if is_peer else "both"
    defaults = SessionSettings()
    accept = defaults.accept if arguments.accept is None else arguments.accept
    keep = min(defaults.keep, accept) if arguments.keep is None else arguments.keep
    try:
        arguments.settings = replace(defaults, accept=accept, keep=keep)
    except ReferDINOError as error:
        parser.error(str(error))
    return arguments


def share_of(clips: int, share: float) -> range:
    """The first of some clips, one at least."""
    return range(max(1, round(clips * share)))


def measure_sentences(session: Engine, arguments: argparse.Namespace) -> str:
    """Sentences of every kind, streamed and with the whole clip in view."""
    inferences = tuple(INFERENCES)
    if arguments.inference != "both":
        inferences = (arguments.inference,)
    clips = range(arguments.clips)
    figures = table(evaluate_world(session, arguments.split, clips, inferences))
    return f"## Sentences, {len(clips)} clips\n\n{figures}"


def measure_robot(session: Engine, arguments: argparse.Namespace) -> str:
    """Sentences over what a robot's camera sees, streamed."""
    clips = share_of(arguments.clips, ROBOT_SHARE)
    settings = WorldSettings(scenes="robot")
    figures = table(evaluate_world(session, arguments.split, clips, settings=settings))
    return f"## Sentences over a robot's scenes, {len(clips)} clips\n\n{figures}"


def measure_identity(session: Engine, arguments: argparse.Namespace) -> str:
    """Identity while the target is painted out."""
    clips = share_of(arguments.clips, IDENTITY_SHARE)
    figures = identity_table(evaluate_identity(session, arguments.split, clips))
    return f"## Identity, {len(clips)} clips\n\n{figures}"


def measure_camera(session: Engine, arguments: argparse.Namespace) -> str:
    """A camera that stands, turns and drives."""
    clips = share_of(arguments.clips, CAMERA_SHARE)
    figures = moving_camera_table(evaluate_moving_camera(session, arguments.split, clips))
    return f"## A moving camera, {len(clips)} clips each\n\n{figures}"


def measure_cost(session: Engine, arguments: argparse.Namespace) -> str:
    """Time per image of one command, and the size of the weights."""
    with WorldRenderer(WorldSettings(frames=100)) as renderer:
        clip = renderer.clip(arguments.split, 0)
    session.begin_stream()
    session.command(clip.expressions[0].text)
    seconds = []
    for image, stamp in zip(clip.frames, clip.stamps.tolist(), strict=True):
        began = time.perf_counter()
        session.step(image, stamp)
        seconds.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in arguments.weights)
    files = "file" if len(arguments.weights) == 1 else "files"
    return (
        "## Cost\n\n| one command, 160x120 pixels | |\n|---|---|\n"
        f"| median time per image | {1000 * np.median(seconds[WARM_UP:]):.1f} ms |\n"
        f"| {files} of weights | {size / 1e6:.1f} MB |"
    )


MEASURES: dict[str, Callable[[Engine, argparse.Namespace], str]] = {
    "sentences": measure_sentences,
    "robot": measure_robot,
    "identity": measure_identity,
    "camera": measure_camera,
    "cost": measure_cost,
}
"""What is measured, by name."""


if __name__ == "__main__":
    main()
