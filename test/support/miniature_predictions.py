# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Segmenters that know the ground truth of miniature benchmarks, or get it wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from miniature_benchmarks import Scene

from referdino_core.errors import CommandError
from referdino_core.evaluation.benchmarks.catalogue import BENCHMARKS, open_benchmark
from referdino_core.evaluation.benchmarks.records import RecordStore
from referdino_core.evaluation.benchmarks.running import BenchmarkRun
from referdino_core.evaluation.benchmarks.segmenters import ReadFrames, Segmenter, SentenceResult
from referdino_core.evaluation.benchmarks.summary import summarise_run
from referdino_core.evaluation.referring_measures import Candidate


class KnownAnswer(SentenceResult):
    def __init__(self, masks: np.ndarray) -> None:
        self._masks = masks

    def masks(self) -> Iterator[np.ndarray]:
        yield from self._masks

    def probabilities(self) -> Iterator[np.ndarray]:
        yield from self._masks.astype(np.float32) * 0.9

    def candidates(self) -> list[Candidate]:
        return [Candidate(0.9, self._masks[-1]), Candidate(0.1, ~self._masks[-1])]


class Oracle(Segmenter):
    """Answers with what the scenes say, for the frames of a clip that could be read.

    segmented: every sentence so far.
    """

    name = "oracle"
    sentences_at_once = 3

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes
        self.segmented: list[str] = []
        self.settings = {}

    def check(self, sentence: str) -> None:
        if not sentence:
            raise CommandError("The command is empty.")

    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[SentenceResult]:
        self.segmented += sentences
        assert 0 < len(sentences) <= self.sentences_at_once
        scene = next(scene for scene in self._scenes if frames.clip.startswith(scene.name))
        places = list(frames.indices)
        for image, place in zip(frames.images, places, strict=True):
            assert np.abs(image.astype(int) - scene.frames[place]).mean() < 12
        return [KnownAnswer(self.masks(scene, sentence)[places]) for sentence in sentences]

    def masks(self, scene: Scene, sentence: str) -> np.ndarray:
        return scene.labels > 0 if sentence == "every object" else scene.masks(sentence)


class Confused(Oracle):
    """Takes each of the two objects for the other."""

    def masks(self, scene: Scene, sentence: str) -> np.ndarray:
        return (scene.labels > 0) & ~super().masks(scene, sentence)


SETTINGS = {"model": "known results"}


def open_run(
    name: str,
    root: Path,
    out: Path,
    oracle: Oracle,
    stopped: Callable[[], bool] = lambda: False,
    settings: dict[str, Any] = SETTINGS,
) -> BenchmarkRun:
    benchmark = open_benchmark(name, root)
    return BenchmarkRun(
        benchmark, BENCHMARKS[name].protocol, oracle, RecordStore(out, settings), stopped
    )


def evaluate(name: str, root: Path, out: Path, oracle: Oracle) -> dict[str, Any]:
    run = open_run(name, root, out, oracle)
    run.process(open_benchmark(name, root).videos)
    return summarise_run(run, BENCHMARKS[name].protocol)
