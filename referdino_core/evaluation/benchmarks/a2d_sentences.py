# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A2D-Sentences (Gavrilyuk et al., CVPR 2018): actors and actions, 3 to 5 annotated frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from referdino_core.errors import ImageError, ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    Clip,
    ContextWindow,
    Expression,
    Question,
    require,
    window_up_to,
)
from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.media.frame_access import read_frames
from referdino_core.media.sources import open_source
from referdino_core.user_files import read_text, visible

SUBSETS = {"train": "0", "test": "1"}
_VIDEO_COLUMN, _SUBSET_COLUMN = 0, 8
_INSTANCE, _QUERY = 1, 2


class A2DSentences(Benchmark):
    """Reader of Release/videoset.csv, Release/clips320H and text_annotations.

    Release/clips320H holds VIDEO.mp4, or a folder VIDEO of its frames as images.
    In text_annotations, a2d_annotation.txt lists "video_id,instance_id,query",
    a2d_missed_videos.txt (if it exists) the excluded videos, and
    a2d_annotation_with_instances/VIDEO/FRAME.h5 holds the masks of a frame, counted from 1:
    "instance" lists ids, "reMask" is (N, W, H), or (W, H) where N is 1.

    A clip is an annotated frame, which alone is evaluated, with its context,
    by default up to 7 frames before it.
    Expressions whose instance is not in a frame are left out there.
    """

    title = "A2D-Sentences"

    def __init__(
        self, folder: Path, split: str = "test", context: ContextWindow = window_up_to
    ) -> None:
        """Read the annotations.

        Args:
            context: frames of a clip.

        Raises:
            SourceError: the lists are missing or damaged.
            ReferDINOError: h5py is not installed.
        """
        super().__init__()
        self._h5py = _import_h5py()
        self.folder, self.split, self._context = folder, split, context
        if split not in SUBSETS:
            raise SourceError(f"A2D-Sentences has no split {split}; use {' or '.join(SUBSETS)}.")
        texts = folder / "text_annotations"
        missed = texts / "a2d_missed_videos.txt"
        left_out = set(read_text(missed).split()) if missed.exists() else set()
        rows = _read_rows(folder / "Release" / "videoset.csv", "the list of videos")
        chosen = [
            row[_VIDEO_COLUMN]
            for row in rows
            if len(row) > _SUBSET_COLUMN and row[_SUBSET_COLUMN].strip() == SUBSETS[split]
        ]
        self._expressions = self._read_expressions(texts / "a2d_annotation.txt")
        self.videos = tuple(
            video for video in chosen if video not in left_out and video in self._expressions
        )
        self._masks = require(
            texts / "a2d_annotation_with_instances", "a folder of masks (.h5) per video"
        )

    def clips(self, video: str) -> Iterator[Clip]:
        """A clip per annotated frame of a video."""
        annotations = sorted(visible((self._masks / video).glob("*.h5")))
        if not annotations:
            raise SourceError(f"Video {video}: {self._masks / video} holds no masks (.h5).")
        place = _place_of(self.folder / "Release" / "clips320H", video)
        with open_source(str(place)) as source:
            count, frame_rate = source.frame_count or 0, source.frame_rate
        for annotation in annotations:
            try:
                yield self._clip(video, annotation, place, count, frame_rate)
            except SourceError as error:
                self.clips_skipped.append(str(error))

    def _clip(
        self, video: str, annotation: Path, place: Path, count: int, frame_rate: float
    ) -> Clip:
        shown = _instances(self._h5py, annotation)
        number = int(annotation.stem) if annotation.stem.isdecimal() else 0
        if not 1 <= number <= count:
            raise SourceError(
                f"Video {video}: {annotation.name} is annotated, but there are {count} frames."
            )
        window = self._context(number - 1, count)
        only_frame = number - 1 - window.start
        return Clip(
            f"{video}_{annotation.stem}",
            tuple(f"{index + 1:05d}" for index in window),
            tuple(
                Question(str(instance), (Expression(sentence, (instance,)),))
                for instance, sentence in self._expressions[video].items()
                if instance in shown
            ),
            frame_rate,
            partial(_read_window, place, window),
            lambda index: _read_masks(self._h5py, annotation) if index == only_frame else None,
            only_frame=only_frame,
        )

    def _read_expressions(self, path: Path) -> dict[str, dict[int, str]]:
        expressions: dict[str, dict[int, str]] = {}
        for row in _read_rows(path, "the sentences")[1:]:
            if len(row) <= _QUERY or not row[_INSTANCE].strip().isdecimal():
                self.expressions_skipped.append(
                    f"{path.name}: {','.join(row)!r} is skipped: no instance."
                )
                continue
            instance, sentence = int(row[_INSTANCE]), ",".join(row[_QUERY:])
            known = expressions.setdefault(row[0], {})
            if instance in known:
                self.expressions_skipped.append(
                    f"{path.name} describes {row[0]}, {instance} twice; {sentence!r} is left out."
                )
                continue
            known[instance] = sentence
        return expressions


def _place_of(folder: Path, video: str) -> Path:
    """The file, or the folder of images, of a video.

    Raises:
        SourceError: there is neither.
    """
    file = folder / f"{video}.mp4"
    place = file if file.is_file() else folder / video
    if not place.exists():
        raise SourceError(f"Video {video} is annotated, but {file} does not exist.")
    return place


def _read_window(
    place: Path, window: range, indices: Sequence[int] | None = None
) -> Iterator[np.ndarray | ImageError]:
    """Frames of a range of a video, by their indices in it."""
    chosen = range(len(window)) if indices is None else indices
    return read_frames(place, [window[index] for index in chosen])


def _read_rows(path: Path, meaning: str) -> list[list[str]]:
    try:
        with require(path, meaning).open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}.") from error


def _import_h5py() -> ModuleType:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ReferDINOError(
            "The masks of A2D-Sentences are HDF5 files; run: pip install h5py"
        ) from error
    return h5py


def _instances(h5py: Any, path: Path) -> list[int]:
    """Ids of the instances in a frame.

    Raises:
        SourceError: the file is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return [int(number) for number in np.ravel(file["instance"][()])]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SourceError(f"{path} is damaged: {error}.") from error


def _read_masks(h5py: Any, path: Path) -> FrameGroundTruth:
    """Masks of a frame's instances, which are stored transposed.

    Raises:
        SourceError: the file is damaged.
    """
    instances = _instances(h5py, path)
    try:
        with h5py.File(path, "r") as file:
            stored = np.asarray(file["reMask"]) > 0
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SourceError(f"{path} is damaged: {error}.") from error
    if stored.ndim == 2:
        stored = stored[None]
    if stored.ndim != 3 or len(stored) != len(instances):
        raise SourceError(f"{path} holds {len(instances)} instances, but masks {stored.shape}.")
    masks = stored.transpose(0, 2, 1)
    return FrameGroundTruth(dict(zip(instances, masks, strict=True)), masks.shape[1:])
