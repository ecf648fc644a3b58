# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The meta_expressions.json that Ref-YouTube-VOS, Ref-DAVIS17 and MeViS share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.evaluation.benchmarks.clips import require
from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.evaluation.ground_truth.label_images import VOID, read_labels
from referdino_core.evaluation.ground_truth.mevis import read_json


@dataclass(frozen=True)
class DescribedVideo:
    """A video's entry in meta_expressions.json.

    Attributes:
        frames: names of the frames, without a suffix.
        expressions: by id, in the file's order: "exp" is the sentence; "obj_id" and "anno_id" are
            its objects, if the file has them.
    """

    frames: tuple[str, ...]
    expressions: Mapping[str, Mapping[str, Any]]


def read_meta_expressions(path: Path) -> dict[str, Any]:
    """The videos of meta_expressions.json by name, as raw entries.

    Raises:
        SourceError: the file is missing, damaged, or of another kind.
    """
    videos = read_json(require(path, "the expressions of every video")).get("videos")
    if not isinstance(videos, dict) or not videos:
        raise SourceError(f'{path} holds no "videos"; it is not a meta_expressions.json.')
    return videos


def described_video(name: str, entry: Any) -> DescribedVideo:
    """The entry of one video, checked.

    Raises:
        SourceError: the entry is damaged.
    """
    try:
        frames = tuple(str(frame) for frame in entry["frames"])
        expressions = {
            str(key): {**expression, "exp": str(expression["exp"])}
            for key, expression in entry["expressions"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"Video {name}: its entry in meta_expressions.json is damaged ({error!r})."
        ) from error
    if not frames or not expressions:
        missing = "expressions" if frames else "frames"
        raise SourceError(f"Video {name}: meta_expressions.json names no {missing} of it.")
    return DescribedVideo(frames, expressions)


def frame_paths(folder: Path, video: str, frames: Sequence[str]) -> list[Path]:
    """The paths of a video's frames, whether they exist or not.

    Raises:
        SourceError: there is no folder of that video.
    """
    place = folder / video
    if not place.is_dir():
        raise SourceError(f"Video {video} is annotated, but {place} does not exist.")
    return [place / f"{frame}.jpg" for frame in frames]


def read_label_frame(folder: Path, frames: Sequence[str], index: int) -> FrameGroundTruth | None:
    """Masks of the objects in a frame; None if it has no label image.

    Raises:
        ImageError: the label image cannot be read.
    """
    path = folder / f"{frames[index]}.png"
    return _read(path) if path.exists() else None


def read_every_label_frame(folder: Path, frames: Sequence[str], index: int) -> FrameGroundTruth:
    """Masks of the objects in a frame, which must have a label image.

    Raises:
        ImageError: the label image is missing or cannot be read.
    """
    return _read(folder / f"{frames[index]}.png")


def object_ids(written: Any) -> tuple[int, ...]:
    """The object id that an expression names; () if it names none.

    Raises:
        SourceError: this is not an id.
    """
    try:
        return () if written is None else (int(written),)
    except (TypeError, ValueError) as error:
        raise SourceError(f'meta_expressions.json has an "obj_id" {written!r}.') from error


def _read(path: Path) -> FrameGroundTruth:
    labels = read_labels(path)
    numbers = [int(number) for number in np.unique(labels) if number not in (0, VOID)]
    height, width = labels.shape
    return FrameGroundTruth(
        {number: labels == number for number in numbers}, (height, width), labels == VOID
    )
