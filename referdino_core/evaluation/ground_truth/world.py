# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth of clips rendered from the world."""

from __future__ import annotations

from referdino_core.errors import SourceError
from referdino_core.evaluation.ground_truth.base import FrameGroundTruth, GroundTruth
from referdino_core.world import SPLITS, Clip, WorldRenderer

_FORM = "world:SPLIT:INDEX, such as world:test:12"


class WorldGroundTruth(GroundTruth):
    """The renderer's ground truth: visible pixels of every object, and objects of sentences.

    Frames are matched by their index in the clip.
    """

    def __init__(self, clip: Clip) -> None:
        super().__init__(f"clip {clip.index} of the world's {clip.split} split")
        self._clip = clip

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of all objects in the clip."""
        return tuple(range(1, len(self._clip.objects) + 1))

    def objects_of(self, sentence: str) -> tuple[int, ...] | None:
        """The referent of one of the clip's sentences; None for other sentences."""
        words = sentence.lower().strip().rstrip(".").split()
        for expression in self._clip.expressions:
            if expression.text.split() == words:
                return () if expression.target is None else (expression.target,)
        return None

    def at(self, index: int, stamp: int) -> FrameGroundTruth | None:
        """Ground truth of one frame; None beyond the clip."""
        if not 0 <= index < len(self._clip.segmentation):
            self.note("a frame lies beyond the clip of the world", f"frame {index}")
            return None
        labels = self._clip.segmentation[index]
        height, width = labels.shape
        return FrameGroundTruth(
            {number: labels == number for number in self.objects}, (height, width)
        )


def open_world(specification: str) -> WorldGroundTruth:
    """Render the clip of "world:SPLIT:INDEX" at the world's own size and length.

    Raises:
        SourceError: this names no clip. WorldUnavailable: it cannot be rendered here.
    """
    parts = specification.split(":")
    if len(parts) != 3 or parts[0] != "world" or not parts[2].isdecimal():
        raise SourceError(f"{specification!r} names no clip of the world; write {_FORM}.")
    for split in SPLITS:
        if split == parts[1]:
            with WorldRenderer() as renderer:
                return WorldGroundTruth(renderer.clip(split, int(parts[2])))
    raise SourceError(f"The world has no split {parts[1]!r}; choose one of {', '.join(SPLITS)}.")
