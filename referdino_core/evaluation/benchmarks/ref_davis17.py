# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ref-DAVIS17 (Khoreva et al., ACCV 2018), in the layout of the referring literature."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.evaluation.benchmarks.annotations import (
    described_video,
    frame_paths,
    object_ids,
    read_every_label_frame,
    read_meta_expressions,
)
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    Clip,
    Expression,
    Question,
    require,
)
from referdino_core.media.frame_access import read_images

ANNOTATORS = 4
FRAME_RATE = 24.0


class RefDAVIS17(Benchmark):
    """Reader of meta_expressions/SPLIT/meta_expressions.json, SPLIT/JPEGImages, SPLIT/Annotations.

    Every object has four consecutive expressions: two people described it, each after seeing its
    first frame and again after the whole video. So expression 4 * object + annotator is an
    annotator's description of an object. One annotator's descriptions of all objects are one
    question.
    """

    title = "Ref-DAVIS17"

    def __init__(self, folder: Path, split: str = "valid") -> None:
        """Read the annotations.

        Raises:
            SourceError: the expressions or the annotations are missing or damaged.
        """
        super().__init__()
        self.folder, self.split = folder, split
        described = folder / "meta_expressions" / split / "meta_expressions.json"
        self._entries = read_meta_expressions(described)
        require(folder / split / "Annotations", "a palette PNG per frame of every video")
        self.videos = tuple(self._entries)

    def clips(self, video: str) -> Iterator[Clip]:
        """The one clip of a video."""
        entry = described_video(video, self._entries[video])
        paths = frame_paths(self.folder / self.split / "JPEGImages", video, entry.frames)
        labels = self.folder / self.split / "Annotations" / video
        given = list(entry.expressions.values())
        if len(given) % ANNOTATORS:
            raise SourceError(
                f"Video {video}: its {len(given)} expressions are not {ANNOTATORS} per object."
            )
        expressions = [
            Expression(one["exp"], object_ids(one.get("obj_id")) or (index // ANNOTATORS + 1,))
            for index, one in enumerate(given)
        ]
        yield Clip(
            video,
            entry.frames,
            tuple(
                Question(f"anno_{annotator}", tuple(expressions[annotator::ANNOTATORS]))
                for annotator in range(ANNOTATORS)
            ),
            FRAME_RATE,
            partial(read_images, paths),
            partial(read_every_label_frame, labels, entry.frames),
        )
