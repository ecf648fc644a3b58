# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Segmenters that know the ground truth of miniature benchmarks, or get it wrong on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from miniature_benchmarks import Scene

from referdino_core.errors import CommandError
from referdino_core.evaluation.benchmarks.answers import Answer, ReadFrames, Segmenter
from referdino_core.evaluation.referring_measures import Candidate


class KnownAnswer(Answer):
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

    asked: every sentence that it was asked.
    """

    name = "oracle"
    sentences_at_once = 3

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = scenes
        self.asked: list[str] = []
        self.settings = {}

    def check(self, sentence: str) -> None:
        if not sentence:
            raise CommandError("The command is empty.")

    def segment(self, frames: ReadFrames, sentences: Sequence[str]) -> Sequence[Answer]:
        self.asked += sentences
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
