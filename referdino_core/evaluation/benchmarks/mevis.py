# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""MeViS (Ding et al., ICCV 2023): sentences about motion that may mean several objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.evaluation.benchmarks.annotations import (
    DescribedVideo,
    described_video,
    frame_paths,
    read_meta_expressions,
)
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    Clip,
    Expression,
    Question,
    no_truth,
)
from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.evaluation.ground_truth.mevis import (
    decode_entry,
    most_frequent_size,
    read_json,
)
from referdino_core.media.frame_access import read_images

FRAME_RATE = 6.0
OPEN_SPLIT, SERVER_SPLIT = "valid_u", "valid"


class MeViS(Benchmark):
    """Reader of SPLIT/meta_expressions.json, SPLIT/JPEGImages and, if it exists, mask_dict.json.

    The split `valid_u` has public ground truth; `valid` is evaluated by the benchmark's server.
    """

    title = "MeViS"

    def __init__(self, folder: Path, split: str | None = None) -> None:
        """Read the annotations, by default of the split `valid_u`, or else `valid`.

        Raises:
            SourceError: the expressions or the masks are missing or damaged.
        """
        super().__init__()
        if split is None:
            split = OPEN_SPLIT if (folder / OPEN_SPLIT).is_dir() else SERVER_SPLIT
        self.folder, self.split = folder, split
        self._entries = read_meta_expressions(folder / split / "meta_expressions.json")
        masks = folder / split / "mask_dict.json"
        self._masks: Mapping[str, Any] | None = None
        if masks.exists():
            self._masks = read_json(masks)
        elif split != SERVER_SPLIT:
            self.problems.append(f"{masks} does not exist, so nothing of {split} can be scored.")
        self.videos = tuple(self._entries)

    def clips(self, video: str) -> Iterator[Clip]:
        """The one clip of a video."""
        entry = described_video(video, self._entries[video])
        paths = frame_paths(self.folder / self.split / "JPEGImages", video, entry.frames)
        questions = tuple(self._questions(video, entry))
        yield Clip(
            video,
            entry.frames,
            questions,
            FRAME_RATE,
            partial(read_images, paths),
            no_truth if self._masks is None else _VideoMasks(video, questions, self._masks).at,
        )

    def _questions(self, video: str, entry: DescribedVideo) -> Iterator[Question]:
        for key, given in entry.expressions.items():
            try:
                objects = tuple(int(number) for number in given.get("anno_id", ()))
            except (TypeError, ValueError):
                self._skip(video, key, f'its "anno_id" is {given["anno_id"]!r}')
                continue
            if self._masks is not None:
                if not objects:
                    self._skip(video, key, 'it has no "anno_id"')
                    continue
                unknown = [number for number in objects if str(number) not in self._masks]
                if unknown:
                    self._skip(video, key, f"mask_dict.json has no object {unknown[0]}")
                    continue
            yield Question(key, (Expression(given["exp"], objects),))

    def _skip(self, video: str, key: str, reason: str) -> None:
        self.expressions_skipped.append(f"Video {video}, expression {key} is skipped: {reason}.")


class _VideoMasks:
    """The masks of one video's objects, a COCO run-length entry or null per frame."""

    def __init__(self, video: str, questions: Sequence[Question], masks: Mapping[str, Any]) -> None:
        self._video = video
        meant = {number for one in questions for number in one.expressions[0].objects}
        self._codes: dict[int, Any] = {number: masks[str(number)] for number in sorted(meant)}
        self._size = most_frequent_size(self._codes.values())

    def at(self, index: int) -> FrameGroundTruth | None:
        """Masks of all objects that the video's expressions mean; None if there are none.

        Raises:
            SourceError, ImageError: a mask is missing or damaged.
        """
        if self._size is None:
            return None
        height, width = self._size
        truth = {}
        for number, frames in self._codes.items():
            if not isinstance(frames, list) or index >= len(frames):
                raise SourceError(
                    f"Video {self._video}: mask_dict.json has no mask of object {number} there."
                )
            code = frames[index]
            mask = decode_entry(code) if code else np.zeros((height, width), dtype=bool)
            if mask.shape != (height, width):
                raise SourceError(
                    f"the mask of object {number} is {mask.shape[1]}x{mask.shape[0]}, most of the "
                    f"video are {width}x{height}."
                )
            truth[number] = mask
        return FrameGroundTruth(truth, (height, width))
