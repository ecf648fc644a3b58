# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino data check`: what is wrong with training data, and pictures of samples."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from referdino_core.cli.progress import ExitStatus, progress_bar
from referdino_core.configuration import CONFIGURATIONS
from referdino_core.evaluation.benchmarks import BENCHMARK_NAMES, OWN_CLIPS
from referdino_core.session.model_choice import DEFAULT_MODEL

if TYPE_CHECKING:
    from referdino_core.training.data_check import DataReport

WORDS_PRINTED = 50

_DESCRIPTION = """Reads every annotated frame of a data set for `referdino train`, by default
of clips of your own, and names everything that is wrong, with the file and what to do. Counts
clips, sentences and objects, and writes a page of samples with their masks drawn: look at it.

Clips of your own are a folder with clips.json, whose paths are relative to the folder:
  {"clips": {"kitchen": {"source": "kitchen.mp4", "masks": "kitchen_masks",
                         "sentences": [{"text": "the red mug", "objects": [1]}]}}}
docs/training.md describes the file in full. Exit status 1 where something is wrong."""

_EPILOG = """examples:
  referdino data check my_clips
  referdino data check my_clips --model swint --out check --samples 60
  referdino data check data/coco --set refcoco+/val"""


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `data` to the commands of the program."""
    parser = commands.add_parser("data", help="check data before training")
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", required=True)
    check = tasks.add_parser(
        "check",
        parents=[common],
        help="name what is wrong with a data set, and draw samples",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="the data set's folder")
    check.add_argument(
        "--set",
        default=OWN_CLIPS,
        metavar="NAME[/SPLIT]",
        help=f"{', '.join(BENCHMARK_NAMES)} (default: all of {OWN_CLIPS})",
    )
    check.add_argument(
        "--model",
        choices=tuple(CONFIGURATIONS),
        default=DEFAULT_MODEL,
        help=f"whose vocabulary must know the words (default: {DEFAULT_MODEL})",
    )
    check.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the page (default: DIR_check, here)"
    )
    check.add_argument(
        "--samples", type=int, default=24, metavar="N", help="clips to draw (default: 24)"
    )
    check.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Check a data set, print the findings, and return the exit status.

    Raises:
        ReferDINOError: the folder has another layout, or the page cannot be written.
    """
    from referdino_core.building import tokenizer_of
    from referdino_core.evaluation.benchmarks.catalogue import open_benchmark
    from referdino_core.replay.bag_frames import BagFrames
    from referdino_core.training.data_check import SamplePage, check_data
    from referdino_core.training.data_sets import DataSet

    data_set = DataSet.parse(arguments.set)
    split = None if arguments.set == OWN_CLIPS else data_set.split
    benchmark = open_benchmark(data_set.name, arguments.folder, split, bags=BagFrames())
    page = SamplePage(arguments.out or Path(f"{arguments.folder.resolve().name}_check"))
    tokenizer = tokenizer_of(CONFIGURATIONS[arguments.model])
    report = check_data(benchmark, tokenizer, watched, arguments.samples, page.add)
    lines = _lines(report, arguments.model)
    for line in lines:
        print(line)
    print(page.finish(f"{benchmark.title}: {arguments.folder.name}", lines))
    return ExitStatus.ERROR if report.problems else ExitStatus.DONE


def watched(videos: Sequence[str], task: str) -> Iterator[str]:
    """The videos, with a progress bar."""
    with progress_bar(total=len(videos), desc=task, unit="video") as bar:
        for video in videos:
            yield video
            bar.update()


def _lines(report: DataReport, model: str) -> list[str]:
    count = len(report.problems)
    lines = [
        f"{report.clips} clips, {report.sentences} sentences, {report.objects} objects, "
        f"{report.frames} annotated frames can be used.",
        f"{count or 'no'} problem{'' if count == 1 else 's'}{':' if count else '.'}",
        *(f"- {problem}" for problem in report.problems),
    ]
    if report.unknown_words:
        words = sorted(report.unknown_words.items(), key=lambda pair: (-pair[1], pair[0]))
        listed = ", ".join(f"{word} ({number})" for word, number in words[:WORDS_PRINTED])
        more = len(words) - WORDS_PRINTED
        lines.append(
            f"{model} does not know {len(words)} of the words, which it reads as one unknown word "
            f"(in brackets the number of sentences): {listed}{f' and {more} more' * (more > 0)}"
        )
        if CONFIGURATIONS[model].tokenizer == "words":
            added = ",".join(word for word, _ in words[:WORDS_PRINTED])
            lines.append(f"Training adds words to its vocabulary: --set words={added}")
    return lines
