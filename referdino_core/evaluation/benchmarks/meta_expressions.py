# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The meta_expressions.json that Ref-YouTube-VOS, Ref-DAVIS17 and MeViS share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referdino_core.errors import SourceError
from referdino_core.evaluation.benchmarks.clips import require
from referdino_core.evaluation.ground_truth.mevis import read_json


@dataclass(frozen=True)
class DescribedVideo:
    """An entry of the file.

    Attributes:
        frames: names of the frames, without a suffix.
        expressions: by id, in the file's order: "exp" is the sentence; "obj_id" and "anno_id" say
            what it means, where the file tells.
    """

    frames: tuple[str, ...]
    expressions: Mapping[str, Mapping[str, Any]]


def read_meta_expressions(path: Path) -> dict[str, Any]:
    """The videos of the file by name, each as it is written.

    Raises:
        SourceError: the file is missing, damaged, or another kind of file.
    """
    videos = read_json(require(path, "the expressions of every video")).get("videos")
    if not isinstance(videos, dict) or not videos:
        raise SourceError(f'{path} holds no "videos"; it is no meta_expressions.json.')
    return videos


def described_video(name: str, entry: Any) -> DescribedVideo:
    """One video of the file, checked.

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
    """Where the frames of a video lie, whether they are there or not.

    Raises:
        SourceError: there is no folder of that video.
    """
    place = folder / video
    if not place.is_dir():
        raise SourceError(f"Video {video} is annotated, but {place} does not exist.")
    return [place / f"{frame}.jpg" for frame in frames]
