# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ref-DAVIS17 (Khoreva et al., ACCV 2018), as the referring literature lays it out."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    Clip,
    Expression,
    Question,
    read_images,
    require,
)
from referdino_core.evaluation.benchmarks.label_folder import object_ids, read_every_label_frame
from referdino_core.evaluation.benchmarks.meta_expressions import (
    described_video,
    frame_paths,
    read_meta_expressions,
)

ANNOTATORS = 4
FRAME_RATE = 24.0


class RefDAVIS17(Benchmark):
    """Reads meta_expressions/SPLIT/meta_expressions.json, SPLIT/JPEGImages and SPLIT/Annotations.

    Every object has four expressions in a row: two people described it, each after seeing its
    first frame and again after the whole video. Expression 4 * object + annotator is so what an
    annotator calls an object. What one annotator says of all objects is one question.
    """

    title = "Ref-DAVIS17"

    def __init__(self, folder: Path, split: str = "valid") -> None:
        """Read what is annotated.

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
