# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""JHMDB-Sentences (Gavrilyuk et al., CVPR 2018): one person per video, 3 evaluated frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from referdino_core.errors import SourceError
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
from referdino_core.media.frame_access import read_images
from referdino_core.user_files import read_text, visible

FRAME_RATE = 30.0
FRAMES_EVALUATED = 3
SAMPLES_NAME = "jhmdb_sentences_samples_metadata.json"
_PERSON = 1


class JHMDBSentences(Benchmark):
    """Reader of jhmdb_annotation.txt, Rename_Images/ACTION/VIDEO/FRAME.png and
    puppet_mask/ACTION/VIDEO/puppet_mask.mat.

    Frames count from 1; "part_mask" of the .mat is (H, W, T), and frames beyond T are not used.
    Three frames of a video are evaluated: those chosen at random for the published results in
    jhmdb_sentences_samples_metadata.json, if it exists, or else three evenly spaced ones. A clip is
    one of them, which alone is evaluated, with its context,
    by default up to 7 frames before it.
    """

    title = "JHMDB-Sentences"
    split = "test"

    def __init__(
        self, folder: Path, split: str = "test", context: ContextWindow = window_up_to
    ) -> None:
        """Read the annotations.

        Args:
            context: frames of a clip.

        Raises:
            SourceError: the sentences are missing or damaged.
        """
        super().__init__()
        if split != "test":
            raise SourceError(f"JHMDB-Sentences has no split {split}; use test.")
        self.folder, self._context = folder, context
        self._sentences = _read_sentences(folder / "jhmdb_annotation.txt")
        self.videos = tuple(self._sentences)
        self._images = _by_video(folder / "Rename_Images", "*/*")
        self._masks = _by_video(folder / "puppet_mask", "*/*/puppet_mask.mat")
        samples = folder / SAMPLES_NAME
        self._chosen = _read_samples(samples) if samples.exists() else None
        if self._chosen is None:
            self.problems.append(
                f"{samples} does not exist: three evenly spaced frames per video are evaluated, "
                "not those of the published results."
            )

    def clips(self, video: str) -> Iterator[Clip]:
        """A clip per evaluated frame of a video."""
        for found, folder in ((self._images, "Rename_Images"), (self._masks, "puppet_mask")):
            if video not in found:
                raise SourceError(f"Video {video} is annotated, but {folder} does not have it.")
        masks = _read_masks(self._masks[video])
        paths = sorted(visible(self._images[video].glob("*.png")))[: masks.shape[2]]
        if not paths:
            raise SourceError(f"Video {video}: {self._images[video]} holds no frames (.png).")
        question = Question("person", (Expression(self._sentences[video], (_PERSON,)),))
        for place in self._places(video, len(paths)):
            window = self._context(place, len(paths))
            yield Clip(
                f"{video}_{place + 1:05d}",
                tuple(paths[index].stem for index in window),
                (question,),
                FRAME_RATE,
                partial(read_images, [paths[index] for index in window]),
                partial(_truth_at, masks[:, :, place], place - window.start),
                only_frame=place - window.start,
            )

    def _places(self, video: str, count: int) -> list[int]:
        if self._chosen is None:
            return sorted(
                {count * (2 * k + 1) // (2 * FRAMES_EVALUATED) for k in range(FRAMES_EVALUATED)}
            )
        places = []
        for number in self._chosen.get(video, []):
            if 1 <= number <= count:
                places.append(number - 1)
            else:
                self.problems.append(
                    f"Video {video}: frame {number} is to be evaluated, but there are {count}."
                )
        return places


def _truth_at(mask: np.ndarray, evaluated: int, index: int) -> FrameGroundTruth | None:
    return FrameGroundTruth({_PERSON: mask}, mask.shape) if index == evaluated else None


def _read_sentences(path: Path) -> dict[str, str]:
    try:
        with require(path, "the sentences").open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) > 1]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}.") from error
    return {row[0]: ",".join(row[1:]) for row in rows[1:]}


def _by_video(folder: Path, pattern: str) -> dict[str, Path]:
    """Folders or files by video, below a folder per action."""
    require(folder, "a folder per action")
    places = sorted(visible(folder.glob(pattern)))
    return {(place.parent if place.suffix == ".mat" else place).name: place for place in places}


def _read_samples(path: Path) -> dict[str, list[int]]:
    """Numbers of the evaluated frames by video; an entry is [video, frame's path, …]."""
    chosen: dict[str, list[int]] = {}
    try:
        for video, frame, *_ in json.loads(read_text(path)):
            chosen.setdefault(video, []).append(int(Path(frame).stem))
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(f"{path} is damaged: {error}.") from error
    return chosen


def _read_masks(path: Path) -> np.ndarray:
    """The masks of the person, (H, W, T) bool.

    Raises:
        SourceError: the file is damaged.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        masks = np.asarray(loadmat(str(path))["part_mask"]) > 0
    except (OSError, KeyError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise SourceError(f"{path} is damaged: {error}.") from error
    if masks.ndim != 3:
        raise SourceError(f"{path} is damaged: its part_mask is {masks.shape}, not (H, W, T).")
    return masks
