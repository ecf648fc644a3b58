# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Data model of benchmarks: clips, questions, expressions and ground truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.ground_truth import FrameGroundTruth


class ImageReader(Protocol):
    """Reads images of a clip."""

    def __call__(
        self, indices: Sequence[int] | None = None, /
    ) -> Iterator[np.ndarray | ImageError]:
        """Images (H, W, 3) uint8 RGB, or the error of an unreadable one.

        Args:
            indices: from 0, ascending; all frames by default.
        """
        ...


@dataclass(frozen=True)
class Expression:
    """A sentence of a benchmark.

    Attributes:
        sentence: its text.
        objects: ids of the objects that it means, in the clip's ground truth; () if unknown.
    """

    sentence: str
    objects: tuple[int, ...] = ()


@dataclass(frozen=True)
class Question:
    """Expressions that are predicted and scored together.

    One expression in most benchmarks; in Ref-DAVIS17 the expressions that one annotator gave for
    all objects of the clip, whose masks compete.

    Attributes:
        name: its name in the benchmark's files; unique within its clip.
    """

    name: str
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a video and the questions about them.

    Attributes:
        name: unique within its benchmark; usable as the name of a folder.
        frame_names: T names of the frames in the benchmark's files.
        questions: in the benchmark's order.
        frame_rate: frames per second.
        open_images: reads the T frames, or those at some indices.
        truth_at: ground truth of the frame at an index from 0; None if it is not annotated.
            Raises ImageError or SourceError if its annotation is damaged.
        only_frame: index of the only evaluated frame, for which the others are context; None if all
            are evaluated.
        annotated: ascending indices of the frames with ground truth; None if it takes `truth_at` to
            tell.
    """

    name: str
    frame_names: tuple[str, ...]
    questions: tuple[Question, ...]
    frame_rate: float
    open_images: ImageReader
    truth_at: Callable[[int], FrameGroundTruth | None]
    only_frame: int | None = None
    annotated: tuple[int, ...] | None = None

    @property
    def may_be_annotated(self) -> Sequence[int]:
        """Ascending indices of the frames that may have ground truth."""
        if self.only_frame is not None:
            return (self.only_frame,)
        return range(len(self.frame_names)) if self.annotated is None else self.annotated


class Benchmark(ABC):
    """Reader of a benchmark in its original folder layout.

    Attributes:
        title: name in the literature.
        split: the split that is read.
        folder: location of the data.
        videos: names of the videos, in reading order.
        problems: problems of the files, a line each.
        expressions_skipped, clips_skipped: a line for each that had to be skipped. All
            three grow while clips are read.
    """

    title: str
    split: str
    folder: Path
    videos: tuple[str, ...]

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.expressions_skipped: list[str] = []
        self.clips_skipped: list[str] = []

    @abstractmethod
    def clips(self, video: str) -> Iterator[Clip]:
        """The clips of a video; one in most benchmarks.

        Raises:
            SourceError: the video or its annotation is missing or damaged.
        """


def no_truth(index: int) -> None:
    """`truth_at` of clips whose ground truth only the benchmark's server has."""
    return None


def require(path: Path, meaning: str) -> Path:
    """The path, if it exists.

    Raises:
        SourceError: it does not; the message says what it should contain.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist; it should hold {meaning}.")
    return path


WINDOW = 8
"""Maximum number of frames of a clip, as in a stream's default window."""


ContextWindow = Callable[[int, int], range]
"""Indices of the frames of a clip, given the evaluated frame and the number of all frames."""


def window_up_to(place: int, count: int) -> range:
    """Indices of the frames of a clip that ends with the evaluated frame at `place`."""
    return range(max(place - WINDOW + 1, 0), place + 1)


def window_around(place: int, count: int) -> range:
    """Indices of the frames of a clip with the evaluated frame at `place` in its middle."""
    return range(max(place - WINDOW // 2, 0), min(place + WINDOW // 2, count))
