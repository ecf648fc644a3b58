# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A user's own clips: a folder of videos, images or bags, and one JSON file that describes them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    Clip,
    Expression,
    Question,
    require,
)
from referdino_core.evaluation.benchmarks.own_masks import (
    LabelMasks,
    Note,
    OwnMasks,
    RunLengthMasks,
)
from referdino_core.evaluation.ground_truth.mevis import read_json
from referdino_core.media.frame_access import frame_count, read_frames
from referdino_core.media.frame_source import DEFAULT_FRAME_RATE, is_plausible
from referdino_core.media.other_recordings import recording_of_ros
from referdino_core.media.sources import open_source

FILE_NAME = "clips.json"
TRAIN = "train"
"""Split of the clips that name none."""

_KEYS = frozenset({"source", "topic", "frame_rate", "split", "masks", "sentences"})


class BagReader(Protocol):
    """Access to the images of rosbag2 recordings."""

    def count(self, path: Path, topic: str | None) -> int:
        """Number of images on a topic; None for the only one with images.

        Raises:
            SourceError: the recording cannot be read, or has no such topic.
        """
        ...

    def read(
        self, path: Path, topic: str | None, indices: Sequence[int] | None = None, /
    ) -> Iterator[np.ndarray | ImageError]:
        """Images of a topic, as `ImageReader` returns them."""
        ...


class OwnClips(Benchmark):
    """Reader of DIR/clips.json, whose paths are relative to DIR.

    The file holds `{"clips": {NAME: CLIP, …}}`. A CLIP has

    - "source": a video file, a folder of images, or a rosbag2 recording,
    - "topic": of a recording's images, where it has several image topics,
    - "frame_rate": of a folder of images, 25 by default,
    - "split": "train" by default,
    - "masks": a folder of PNG label images (0 background, otherwise the id of an object; named by
      the index of the frame from 0, or like the image), or run lengths:
      `{OBJECT: {FRAME: {"size": [H, W], "counts": COCO run lengths} or null, …}, …}`, null where
      the object is not visible,
    - "sentences": `[{"text": …, "objects": [OBJECT, …]}, …]`; a sentence may mean several objects.

    Not every frame needs to be annotated.
    """

    title = "Own clips"

    def __init__(
        self, folder: Path, split: str | None = None, bags: BagReader | None = None
    ) -> None:
        """Read the description.

        Args:
            split: which clips to read, all by default.
            bags: reads recordings; without it, clips cannot be recordings.

        Raises:
            SourceError: the description is missing or damaged, or no clip is in the split.
        """
        super().__init__()
        self.folder, self.split, self._bags = folder, split or "all", bags
        self.path = require(folder / FILE_NAME, "the description of the clips")
        clips = read_json(self.path).get("clips")
        if not isinstance(clips, dict) or not clips:
            raise SourceError(f'{self.path} holds no "clips": {{NAME: {{…}}}}; see docs/training.')
        self._entries: Mapping[str, Any] = clips
        self.videos = tuple(
            name for name, entry in clips.items() if split in (None, _split_of(entry))
        )
        if not self.videos:
            known = ", ".join(sorted({_split_of(entry) for entry in clips.values()}))
            raise SourceError(
                f"No clip of {self.path} is in the split {split}; there are: {known}."
            )

    def clips(self, video: str) -> Iterator[Clip]:
        """The one clip of a name."""
        yield self.read(video, self.expressions_skipped.append)

    def read(self, name: str, note: Note) -> Clip:
        """A clip.

        Args:
            note: takes a line for everything that had to be left out.

        Raises:
            SourceError: nothing of the clip can be used.
        """
        place = f"{self.path}, clip {name!r}"
        entry = self._entries[name]
        if not isinstance(entry, dict):
            raise SourceError(f"{place} is not an object in braces with source, masks, sentences.")
        for stranger in sorted(set(entry) - _KEYS):
            note(f"{place}: {stranger!r} is not known; use {', '.join(sorted(_KEYS))}.")
        source = self.folder / _text(entry, "source", place)
        open_images, count, frame_rate = self._open(source, entry, place)
        masks = self._masks(entry.get("masks"), source, count, place, note)
        questions = tuple(_questions(entry.get("sentences"), masks.objects, place, note))
        if not questions:
            raise SourceError(
                f'{place} has no usable sentence; give "sentences": [{{"text": "the red mug", '
                '"objects": [1]}].'
            )
        return Clip(
            name,
            tuple(f"{index:05d}" for index in range(count)),
            questions,
            frame_rate,
            open_images,
            masks.at,
            annotated=tuple(masks.names),
        )

    def _open(self, source: Path, entry: Mapping[str, Any], place: str) -> tuple[Any, int, float]:
        """A reader of the images, their number and their rate."""
        if not source.exists():
            raise SourceError(f"{place}: {source} does not exist; correct its source.")
        try:
            if recording_of_ros(source):
                if self._bags is None:
                    raise SourceError(f"{source} is a recording, which cannot be read here.")
                topic = _text(entry, "topic", place) if "topic" in entry else None
                count = self._bags.count(source, topic)
                return partial(self._bags.read, source, topic), count, DEFAULT_FRAME_RATE
            with open_source(str(source), _rate(entry, place)) as opened:
                rate = opened.frame_rate
            return partial(read_frames, source), frame_count(source), rate
        except SourceError as error:
            raise SourceError(f"{place}: {error}") from error

    def _masks(self, given: Any, source: Path, count: int, place: str, note: Note) -> OwnMasks:
        if isinstance(given, dict) and given:
            return RunLengthMasks(given, source, count, place, note)
        if isinstance(given, str) and given:
            return LabelMasks(self.folder / given, source, count, place, note)
        raise SourceError(
            f'{place} has no "masks"; give a folder of PNG label images, or run lengths by object '
            "and frame."
        )


def _questions(given: Any, objects: Collection[int], place: str, note: Note) -> Iterator[Question]:
    for number, sentence in enumerate(given if isinstance(given, list) else []):
        where = f"{place}, sentence {number}"
        text = sentence.get("text") if isinstance(sentence, dict) else None
        if not isinstance(text, str) or not text.strip():
            note(f'{where} has no "text".')
            continue
        meant = sentence.get("objects")
        if not isinstance(meant, list) or not meant:
            note(f'{where}, {text!r}, has no "objects": give a list of ids, such as [1].')
            continue
        strangers = [one for one in meant if type(one) is not int or one not in objects]
        if strangers:
            listed = ", ".join(str(known) for known in sorted(objects))
            note(f"{where}, {text!r}: object {strangers[0]!r} has no masks; there are: {listed}.")
            continue
        yield Question(str(number), (Expression(text, tuple(meant)),))


def _split_of(entry: Any) -> str:
    return str(entry.get("split", TRAIN)) if isinstance(entry, dict) else TRAIN


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise SourceError(f'{place} has no "{key}".')
    return value


def _rate(entry: Mapping[str, Any], place: str) -> float | None:
    rate = entry.get("frame_rate")
    if rate is None:
        return None
    if type(rate) not in (int, float) or not is_plausible(rate):
        raise SourceError(f'{place}: "frame_rate" {rate!r} is not a number of frames per second.')
    return float(rate)
