# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets of a training run: one, or several that are trained on together."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from referdino_core.errors import ImageError, ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks import BENCHMARK_NAMES
from referdino_core.evaluation.benchmarks.clips import Benchmark, Clip, Expression

TRAIN = "train"
LINES = 10
"""Most lines about items of a set that are left out."""

logger = logging.getLogger("referdino.training")


@dataclass(frozen=True)
class DataSet:
    """A data set of a recipe.

    Attributes:
        name: of the reader.
        split: that is read.
        times: how often an epoch goes through it: 0.5 draws half of its sentences, 2 draws each
            of them twice.
    """

    name: str
    split: str = TRAIN
    times: float = 1.0

    @classmethod
    def parse(cls, text: str) -> DataSet:
        """The data set that a text "NAME[/SPLIT][:TIMES]" means.

        Raises:
            ReferDINOError: the name is unknown, or TIMES is no number above 0.
        """
        place, colon, times = text.partition(":")
        name, slash, split = place.partition("/")
        if name not in BENCHMARK_NAMES:
            raise ReferDINOError(
                f"{text!r} is no data set; choose from {', '.join(BENCHMARK_NAMES)}."
            )
        try:
            number = float(times) if colon else 1.0
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf or (slash and not split):
            raise ReferDINOError(
                f"{text!r} is no data set; write NAME, NAME/SPLIT or NAME/SPLIT:TIMES with a "
                "number above 0."
            )
        return cls(name, split or TRAIN, number)


@dataclass(frozen=True)
class TrainingItem:
    """A sentence about a clip, of which frames are drawn."""

    clip: Clip
    expression: Expression

    @property
    def name(self) -> str:
        """The clip and the sentence, for messages."""
        return f"{self.clip.name}, {self.expression.sentence!r}"


@dataclass(frozen=True)
class Mixture:
    """Shares of data sets in an epoch; their items are numbered one set after the other.

    Attributes:
        counts: items of every set, at least one each.
        times: how often an epoch goes through each set.
    """

    counts: tuple[int, ...]
    times: tuple[float, ...]

    @property
    def draws(self) -> tuple[int, ...]:
        """Items that an epoch draws from every set."""
        return tuple(
            max(1, round(count * times))
            for count, times in zip(self.counts, self.times, strict=True)
        )

    def epoch(self, seed: int, number: int) -> np.ndarray:
        """Item numbers of an epoch in random order, the same in every repetition.

        No item of a set is drawn once more before all others of it are.
        """
        generator = np.random.default_rng([seed, number])
        parts = []
        first = 0
        for count, wanted in zip(self.counts, self.draws, strict=True):
            rounds = [generator.permutation(count) for _ in range(math.ceil(wanted / count))]
            parts.append(first + np.concatenate(rounds)[:wanted])
            first += count
        return parts[0] if len(parts) == 1 else generator.permutation(np.concatenate(parts))

    def same_set(self, item: int) -> range:
        """Numbers of the items in the set of an item."""
        first = 0
        for count in self.counts:
            if item < first + count:
                return range(first, first + count)
            first += count
        raise IndexError(item)


@dataclass(frozen=True)
class TrainingData:
    """Items to learn from, and items of other videos for validation.

    Attributes:
        learnt: items of all sets, one set after the other.
        mixture: the sets of `learnt`.
    """

    learnt: Sequence[TrainingItem]
    held_back: Sequence[TrainingItem]
    mixture: Mixture


Watch = Callable[[Sequence[str], str], Iterator[str]]
"""Goes through the names of videos and shows the progress of a task."""


def read_training_data(
    sets: Sequence[DataSet], benchmarks: Sequence[Benchmark], hold_back: int, watch: Watch
) -> TrainingData:
    """Items of data sets, with one video in `hold_back` apart for validation.

    A video that one set holds back is not learnt from another set of the same folder, as the images
    of RefCOCO, RefCOCO+ and RefCOCOg are the same.

    Raises:
        SourceError: a set has too few videos, or none of its sentences has annotations.
    """
    apart = [set(_held_back(benchmark, hold_back)) for benchmark in benchmarks]
    folders: dict[Path, set[str]] = {}
    for benchmark, names in zip(benchmarks, apart, strict=True):
        folders.setdefault(benchmark.folder, set()).update(names)
    learnt: list[TrainingItem] = []
    held_back: list[list[TrainingItem]] = []
    counts = []
    for data_set, benchmark, names in zip(sets, benchmarks, apart, strict=True):
        excluded = folders[benchmark.folder]
        videos = [video for video in benchmark.videos if video not in excluded]
        items = _read(benchmark, videos, f"reading {data_set.name}", watch)
        if not items:
            raise SourceError(f"No sentence of {benchmark.title} {benchmark.split} has masks.")
        counts.append(len(items))
        learnt += items
        held_back.append(_read(benchmark, sorted(names), "reading validation", watch))
    mixture = Mixture(tuple(counts), tuple(one.times for one in sets))
    for data_set, count, drawn in zip(sets, counts, mixture.draws, strict=True):
        logger.info(
            "%s: %d sentences, %d drawn in an epoch (%.0f %%).",
            *(data_set.name, count, drawn, 100 * drawn / sum(mixture.draws)),
        )
    return TrainingData(learnt, _in_turn(held_back), mixture)


def items_of(benchmark: Benchmark, video: str) -> list[TrainingItem]:
    """The items of a video; one that is damaged has none and is logged."""
    try:
        return [
            TrainingItem(clip, expression)
            for clip in benchmark.clips(video)
            for question in clip.questions
            for expression in question.expressions
            if expression.objects
        ]
    except (SourceError, ImageError) as error:
        logger.warning("Left out: %s", error)
        return []


def folders_of(sets: Sequence[DataSet], given: Sequence[str]) -> list[Path]:
    """The folder of every data set.

    Args:
        given: texts "DIR" for all sets, and "NAME=DIR" for one.

    Raises:
        ReferDINOError: a set has no folder, or a folder is of no set.
    """
    names = [one.name for one in sets]
    named: dict[str, str] = {}
    common: list[str] = []
    for text in given:
        name, equals, folder = text.partition("=")
        if equals and name in BENCHMARK_NAMES and not Path(text).exists():
            named[name] = folder
        else:
            common.append(text)
    strangers = sorted(set(named) - set(names))
    if strangers or len(common) > 1:
        what = f"--data {strangers[0]}=…" if strangers else f"--data {' '.join(common)}"
        raise ReferDINOError(
            f"{what} does not fit the recipe; give one folder, or NAME=DIR for each of "
            f"{', '.join(names)}."
        )
    for name in names:
        if name not in named and not common:
            raise ReferDINOError(f"The recipe needs {name}; give its folder: --data {name}=DIR.")
    return [Path(named.get(name, common[0] if common else "")) for name in names]


def _held_back(benchmark: Benchmark, hold_back: int) -> Sequence[str]:
    videos = benchmark.videos
    if len(videos) < 2:
        raise SourceError(
            f"{benchmark.title} {benchmark.split} has {len(videos)} videos; training needs two at "
            "least, as one is held back for validation."
        )
    return videos[hold_back - 1 :: hold_back] or videos[-1:]


def _read(
    benchmark: Benchmark, videos: Sequence[str], task: str, watch: Watch
) -> list[TrainingItem]:
    items = [item for video in watch(videos, task) for item in items_of(benchmark, video)]
    left_out = [*benchmark.clips_skipped, *benchmark.expressions_skipped]
    for line in left_out[:LINES]:
        logger.warning("Left out: %s", line)
    if len(left_out) > LINES:
        logger.warning("%d more of %s are left out.", len(left_out) - LINES, benchmark.title)
    benchmark.clips_skipped.clear()
    benchmark.expressions_skipped.clear()
    return items


def _in_turn(lists: Sequence[Sequence[TrainingItem]]) -> list[TrainingItem]:
    """Items of several sets in turn, so that the first few are of all sets."""
    longest = max(map(len, lists))
    return [items[place] for place in range(longest) for items in lists if place < len(items)]
