# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino train`: train or fine-tune a model on published data sets or clips of one's own."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.argument_types import positive_integer
from referdino_core.cli.arguments import checkpoint_path
from referdino_core.cli.data import watched
from referdino_core.cli.progress import ExitStatus, GracefulShutdown, progress_bar
from referdino_core.errors import ReferDINOError
from referdino_core.files import create_folder

if TYPE_CHECKING:
    from referdino_core.training.data_sets import TrainingData
    from referdino_core.training.video_recipes import VideoRecipe

RANDOM = "random"
WANDB_PROJECT = "referdino"

_DESCRIPTION = """Trains LoRA, heads and decoders with the paper's losses, matching and sampling.

The data must have their authors' folder layout, with masks:
  ref-youtube-vos  meta_expressions/train, train/JPEGImages, train/Annotations
  mevis            train/{meta_expressions.json,mask_dict.json,JPEGImages}
  refcoco, refcoco+, refcocog   NAME/refs(...).p, NAME/instances.json, train2014
  a2d-sentences    Release/{videoset.csv,clips320H}, text_annotations (needs h5py)
  own-clips        clips.json; see docs/training.md, and check it by `referdino data check`
Several sets: --set sets=NAME,NAME:2 draws the second one twice in an epoch. One video in 50 is
held back for validation (--set hold_back=N).

Writes to the folder --out:
  state.pt, recipe.json   a stopped or killed run goes on from there
  best.pth, best.safetensors, best_lora.safetensors   the weights that validated best; last.*
  curve.jsonl, tensorboard/, validation/epoch_NNN/*.jpg; wandb/ with --wandb

torchrun --nproc_per_node 8 -m referdino_core.cli train ... uses several GPUs."""

_EPILOG = """examples:
  referdino train --recipe mevis_swint --data data/mevis --out run
  referdino train --recipe ytvos_swint --data data/rvos --out run --set precision=bf16 epochs=2
  referdino train --recipe own_nano --data my_clips --out run
  referdino train --recipe joint_swint --data data/coco ref-youtube-vos=data/rvos --out run
  referdino train --recipe ytvos_swint --data data/rvos --out try --steps 2"""


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `train` to the commands of the program."""
    from referdino_core.training.video_recipes import RECIPES

    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train or fine-tune a model",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--recipe",
        required=True,
        metavar="NAME",
        choices=tuple(RECIPES),
        help=", ".join(RECIPES),
    )
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="[NAME=]DIR",
        help="the data set's folder; with several sets, NAME=DIR for each or one folder for all",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the run")
    parser.add_argument(
        "--weights",
        metavar="FILE|NAME",
        help="weights to start from: a checkpoint of ReferDINO or GroundingDINO, a name that "
        f"`referdino download` knows, nano, or {RANDOM} (default: the recipe's)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="settings of the recipe to change",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all randomness (default: 0)")
    parser.add_argument("--steps", type=positive_integer, metavar="N", help="stop after N steps")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="processes that read clips (default: 2)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument(
        "--wandb",
        nargs="?",
        const=WANDB_PROJECT,
        metavar="PROJECT",
        help="show the run on Weights & Biases, too (default project: "
        f"{WANDB_PROJECT}); WANDB_MODE=offline needs no account",
    )
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="go on with a run although its recipe has changed",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, and return the exit status.

    Raises:
        ReferDINOError: the recipe, the data or the weights cannot be used.
    """
    from referdino_core.building import usable_device
    from referdino_core.training.boards import installed_wandb
    from referdino_core.training.processes import joined_processes
    from referdino_core.training.training_state import check_recipe
    from referdino_core.training.video_recipes import RECIPES, changed
    from referdino_core.training.video_training import VideoTraining, build_model

    if arguments.wandb is not None:
        installed_wandb()
    recipe = changed(RECIPES[arguments.recipe], arguments.set)
    start = _start(arguments.weights or recipe.start)
    with joined_processes(usable_device(arguments.device)) as processes, GracefulShutdown() as stop:
        if processes.is_first:
            create_folder(arguments.out)
            check_recipe(arguments.out, recipe, start, arguments.seed, arguments.accept_changes)
        processes.wait()
        data = _open_data(recipe, arguments.data)
        model = build_model(recipe, start, arguments.seed)
        training = VideoTraining(
            model,
            data,
            recipe,
            arguments.out,
            processes,
            seed=arguments.seed,
            workers=arguments.workers,
            wandb=arguments.wandb,
        )
        bar = functools.partial(progress_bar, desc="training", disable=not processes.is_first)
        complete = training.run(stop.cancelled, bar, arguments.steps)
    if processes.is_first:
        print(arguments.out)
    return ExitStatus.DONE if complete else ExitStatus.INTERRUPTED


def _start(given: str) -> Path | None:
    """The file of weights to start from; None for random ones.

    Raises:
        ReferDINOError: there are no weights to start from, or they were not downloaded.
    """
    from referdino_core.building import weights_of
    from referdino_core.configuration import CONFIGURATIONS

    if not given:
        raise ReferDINOError(
            f"The recipe names no weights to start from: give a file or name by --weights, or say "
            f"--weights {RANDOM}."
        )
    if given == RANDOM:
        return None
    return weights_of(given) if given in CONFIGURATIONS else checkpoint_path(given)


def _open_data(recipe: VideoRecipe, given: list[str]) -> TrainingData:
    """Items of the recipe's data sets."""
    from referdino_core.evaluation.benchmarks.catalogue import open_benchmark
    from referdino_core.replay.bag_frames import BagFrames
    from referdino_core.training.data_sets import folders_of, read_training_data

    sets = recipe.data_sets
    benchmarks = [
        open_benchmark(one.name, folder, one.split, bags=BagFrames())
        for one, folder in zip(sets, folders_of(sets, given), strict=True)
    ]
    return read_training_data(sets, benchmarks, recipe.hold_back, watched)
