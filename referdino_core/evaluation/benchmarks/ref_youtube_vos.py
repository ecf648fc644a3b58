# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ref-YouTube-VOS (Seo et al., ECCV 2020): validation set, evaluated by the benchmark's server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from referdino_core.evaluation.benchmarks.annotations import (
    described_video,
    frame_paths,
    object_ids,
    read_label_frame,
    read_meta_expressions,
)
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    Clip,
    Expression,
    Question,
)
from referdino_core.media.frame_access import read_images

FRAME_RATE = 6.0  # every fifth frame of videos at 30 frames per second


class RefYouTubeVOS(Benchmark):
    """Reader of meta_expressions/SPLIT/meta_expressions.json and SPLIT/JPEGImages/VIDEO/FRAME.jpg.

    The expressions of `valid` include the videos of the test set; the server's validation set is
    `valid` without the videos of `test`. Only the server has the ground truth. If
    SPLIT/Annotations/VIDEO/FRAME.png (palette, an id per object) exist and the expressions name
    their obj_id, as in the training set, they are used.
    """

    title = "Ref-YouTube-VOS"

    def __init__(self, folder: Path, split: str = "valid") -> None:
        """Read the annotations.

        Raises:
            SourceError: the expressions are missing or damaged.
        """
        super().__init__()
        self.folder, self.split = folder, split
        described = folder / "meta_expressions"
        self._entries = read_meta_expressions(described / split / "meta_expressions.json")
        test = described / "test" / "meta_expressions.json"
        tested = set(read_meta_expressions(test)) if split == "valid" and test.exists() else set()
        self.videos = tuple(sorted(set(self._entries) - tested))
        if split == "valid" and not tested:
            self.problems.append(
                f"{test} does not exist: videos of the test set cannot be recognised and are kept."
            )

    def clips(self, video: str) -> Iterator[Clip]:
        """The one clip of a video."""
        entry = described_video(video, self._entries[video])
        paths = frame_paths(self.folder / self.split / "JPEGImages", video, entry.frames)
        labels = self.folder / self.split / "Annotations" / video
        yield Clip(
            video,
            entry.frames,
            tuple(
                Question(key, (Expression(given["exp"], object_ids(given.get("obj_id"))),))
                for key, given in entry.expressions.items()
            ),
            FRAME_RATE,
            partial(read_images, paths),
            partial(read_label_frame, labels, entry.frames),
        )
