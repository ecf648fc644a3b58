# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino train`: train or fine-tune a model on a benchmark's training set."""

from __future__ import annotations

import argparse
import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.cli.arguments import checkpoint_path, positive_integer
from referdino_core.cli.progress import ExitStatus, GracefulShutdown, progress_bar
from referdino_core.errors import ReferDINOError, SourceError

if TYPE_CHECKING:
    from referdino_core.evaluation.benchmarks.clips import Benchmark
    from referdino_core.training.video_recipes import VideoRecipe
    from referdino_core.training.video_training import TrainingData

RANDOM = "random"
HELD_BACK = 50
"""Every so many videos, one is held back for validation."""

_DESCRIPTION = """Trains LoRA, heads and decoders with the paper's losses, matching and sampling.

The data must have their authors' folder layout, with masks: train/JPEGImages, train/Annotations
and meta_expressions/train for ref-youtube-vos, train/ for mevis, as `referdino evaluate --help`
lists it for the others. One video in 50 is held back for validation.

Writes to the folder --out:
  state.pt, recipe.json   a stopped or killed run goes on from there
  best.pth, best.safetensors, best_lora.safetensors   the weights that validated best; last.*
  curve.jsonl, tensorboard/, validation/epoch_NNN/*.jpg

torchrun --nproc_per_node 8 -m referdino_core.cli train ... uses several GPUs."""

_EPILOG = """examples:
  referdino train --recipe mevis_swint --data data/mevis --weights groundingdino_swint.pth --out run
  referdino train --recipe ytvos_swint --data data/rvos --out run --set precision=bf16 epochs=2
  referdino train --recipe ytvos_swint --data own --out run --weights nano --set model=nano
  referdino train --recipe ytvos_swint --data data/rvos --out try --steps 2"""

_logger = logging.getLogger("referdino.training")


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
    parser.add_argument("--recipe", required=True, choices=tuple(RECIPES), help=", ".join(RECIPES))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set")
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
    from referdino_core.training.processes import joined_processes
    from referdino_core.training.training_state import check_recipe
    from referdino_core.training.video_recipes import RECIPES, changed
    from referdino_core.training.video_training import VideoTraining, build_model

    recipe = changed(RECIPES[arguments.recipe], arguments.set)
    start = _start(arguments.weights or recipe.start)
    with joined_processes(usable_device(arguments.device)) as processes, GracefulShutdown() as stop:
        if processes.is_first:
            arguments.out.mkdir(parents=True, exist_ok=True)
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
            "The paper starts this recipe from GroundingDINO's weights, which are not in the "
            f"catalogue: give their file by --weights, or --weights {RANDOM}."
        )
    if given == RANDOM:
        return None
    return weights_of(given) if given in CONFIGURATIONS else checkpoint_path(given)


def _open_data(recipe: VideoRecipe, folder: Path) -> TrainingData:
    """Items of the training set, one video in `HELD_BACK` apart."""
    from referdino_core.evaluation.benchmarks.catalogue import open_benchmark
    from referdino_core.training.video_training import TrainingData

    benchmark = open_benchmark(recipe.benchmark, folder, recipe.split)
    held_back = set(benchmark.videos[HELD_BACK - 1 :: HELD_BACK] or benchmark.videos[-1:])
    learnt = [video for video in benchmark.videos if video not in held_back]
    if not learnt:
        raise SourceError(
            f"{benchmark.title} {recipe.split} has {len(benchmark.videos)} videos; training needs "
            "two at least, as one is held back for validation."
        )
    data = TrainingData(
        _read_items(benchmark, learnt, "reading sentences"),
        _read_items(benchmark, sorted(held_back), "reading validation"),
    )
    if not data.learnt:
        raise ReferDINOError(f"No sentence of {benchmark.title} {recipe.split} has annotations.")
    _logger.info(
        "%d sentences of %d videos; %d sentences of %d others for validation.",
        *(len(data.learnt), len(learnt), len(data.held_back), len(held_back)),
    )
    return data


def _read_items(benchmark: Benchmark, videos: list[str], task: str) -> list:
    from referdino_core.training.clip_samples import items_of

    with progress_bar(total=len(videos), desc=task, unit="video") as bar:
        items = []
        for found in items_of(benchmark, videos):
            items += found
            bar.update()
    return items
