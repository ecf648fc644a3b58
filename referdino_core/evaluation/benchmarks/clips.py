# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a benchmark consists of: clips, the questions about them, ground truth and windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.ground_truth import FrameTruth
from referdino_core.media.images import read_image


@dataclass(frozen=True)
class Expression:
    """A sentence of a benchmark.

    Attributes:
        sentence: what it says.
        objects: ids of the objects that it means, in the clip's ground truth; () where nobody
            knows.
    """

    sentence: str
    objects: tuple[int, ...] = ()


@dataclass(frozen=True)
class Question:
    """What is answered and judged as one.

    One expression in most benchmarks; in Ref-DAVIS17 the expressions that one annotator gave for
    all objects of the clip, whose masks compete.

    Attributes:
        name: as the benchmark's files call it; unique within its clip.
    """

    name: str
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a video and what is asked about them.

    Attributes:
        name: unique within its benchmark; usable as the name of a folder.
        frame_names: T names, as the benchmark's files call the frames.
        questions: in the benchmark's order.
        frame_rate: frames per second.
        open_images: reads the T frames in order: (H, W, 3) uint8 RGB, or the error of a frame that
            cannot be read.
        truth_at: ground truth of the frame at an index from 0; None where it is not annotated.
            Raises ImageError or SourceError where its annotation is damaged.
        only_last_counts: whether the last frame alone is judged, and the others lead up to it.
    """

    name: str
    frame_names: tuple[str, ...]
    questions: tuple[Question, ...]
    frame_rate: float
    open_images: Callable[[], Iterator[np.ndarray | ImageError]]
    truth_at: Callable[[int], FrameTruth | None]
    only_last_counts: bool = False


class Benchmark(ABC):
    """A benchmark in its original folder layout; reads it and knows neither answers nor scores.

    Attributes:
        title: as the literature calls it.
        split: the part that is read.
        folder: where it lies.
        videos: names of the videos, in the order in which they are read.
        problems: what was found wrong with the files, a line each.
        expressions_passed_over, clips_passed_over: likewise, a line for each that cannot be asked.
            All three grow while clips are read.
    """

    title: str
    split: str
    folder: Path
    videos: tuple[str, ...]

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.expressions_passed_over: list[str] = []
        self.clips_passed_over: list[str] = []

    @abstractmethod
    def clips(self, video: str) -> Iterator[Clip]:
        """The clips of a video; most benchmarks have one.

        Raises:
            SourceError: the video or its annotation is missing or damaged; the others are not.
        """


def no_truth(index: int) -> None:
    """The ground truth of clips whose ground truth only the benchmark's server has."""
    return None


def read_images(paths: Sequence[Path]) -> Iterator[np.ndarray | ImageError]:
    """Read image files one after another; an error takes the place of one that cannot be read."""
    for path in paths:
        try:
            yield read_image(path)
        except ImageError as error:
            yield error


def require(path: Path, meaning: str) -> Path:
    """The path, if there is something.

    Raises:
        SourceError: there is nothing; the message tells what was looked for.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist; it should hold {meaning}.")
    return path


WINDOW = 8
"""Frames of a clip, at most; a stream looks back over as many by default."""


def window_up_to(place: int) -> range:
    """Indices of a video's frames that end with the judged one at `place`."""
    return range(max(place - WINDOW + 1, 0), place + 1)
