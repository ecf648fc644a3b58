# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth in MeViS's format: a JSON file of sentences and one of COCO run lengths."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.ground_truth.base import (
    FrameGroundTruth,
    GroundTruth,
    recorded_names,
)
from referdino_core.messages import run_lengths
from referdino_core.sentences import plain
from referdino_core.user_files import read_text

MASKS_FILE = "mask_dict.json"
MASKS_KEY = "mask_dict"

RunLengths = Mapping[str, Any]


class MevisGroundTruth(GroundTruth):
    """One video of a MeViS-style data set.

    The file of sentences holds `videos/<id>/expressions/<n>/{exp, obj_id, anno_id}` and
    `videos/<id>/frames`; `mask_dict.json` next to it, or the key `mask_dict` in the same file,
    holds one entry per annotation id and frame: run lengths, or null if the object is not in view.
    A sentence may mean several objects. An object's id is its `obj_id` if these correspond one to
    one to annotations in the video, otherwise its `anno_id`; the description says which. Frames are
    matched by name with a folder of images, else by position.
    """

    def __init__(self, path: Path, video: str | None = None, recording: Path | None = None) -> None:
        """Read the annotations of one video.

        Args:
            video: its id; by default the one named like the recording, or the only one.

        Raises:
            SourceError: the files cannot be read, have another format, or lack the video.
        """
        document = read_json(path)
        videos = document.get("videos")
        if not isinstance(videos, dict) or not videos:
            raise SourceError(f"{path} has no 'videos'; give a file like MeViS's expressions.")
        self._video = choose_video(path, videos, video, recording)
        super().__init__(f"video {self._video} of {path}")
        entry = videos[self._video] if isinstance(videos[self._video], dict) else {}
        self._meant = self._read_expressions(entry.get("expressions"))
        tracks = document.get(MASKS_KEY)
        if tracks is None:
            tracks = read_json(path.with_name(MASKS_FILE))
        if not isinstance(tracks, dict):
            raise SourceError(f"{path} has a {MASKS_KEY!r} that is not an object.")
        self._tracks = self._choose_tracks(tracks)
        self._numbers, kind = object_ids(entry.get("expressions"), list(self._tracks))
        self.description += f" (objects by their {kind})"
        self._places = self._match_frames(entry.get("frames"), recording)
        self._size = self._find_size()

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects that have masks."""
        return tuple(sorted(self._numbers.values()))

    def objects_of(self, sentence: str) -> tuple[int, ...] | None:
        """Objects of a sentence of the file; None for others, and if an object has no masks."""
        meant = self._meant.get(_plain(sentence))
        if meant is None or any(annotation not in self._numbers for annotation in meant):
            return None
        return tuple(sorted(self._numbers[annotation] for annotation in meant))

    def at(self, index: int, stamp: int) -> FrameGroundTruth | None:
        """Ground truth of one frame; None without a readable annotation."""
        place = index if self._places is None else self._places.get(index)
        if place is None or self._size is None:
            return None
        if all(place >= len(track) for track in self._tracks.values()):
            self.note("a frame has no annotation", f"frame {index}")
            return None
        masks: dict[int, np.ndarray] = {}
        for annotation, track in self._tracks.items():
            try:
                if place >= len(track):
                    raise ImageError(f"it ends after {len(track)} frames.")
                masks[self._numbers[annotation]] = self._mask(track[place])
            except ImageError as error:
                self.note(
                    "an annotation cannot be used, so its frame is not scored",
                    f"annotation {annotation} in frame {index}, {error}",
                )
                return None
        return FrameGroundTruth(masks, self._size)

    def _mask(self, entry: RunLengths | None) -> np.ndarray:
        assert self._size is not None
        if entry is None:
            return np.zeros(self._size, dtype=bool)
        mask = decode_entry(entry)
        if mask.shape != self._size:
            raise ImageError(f"its size is {mask.shape}, but others have {self._size}.")
        return mask

    def _read_expressions(self, expressions: object) -> dict[str, tuple[str, ...]]:
        """Annotation ids by normalised sentence."""
        meant: dict[str, tuple[str, ...]] = {}
        for key, entry in (expressions if isinstance(expressions, dict) else {}).items():
            text = entry.get("exp") if isinstance(entry, dict) else None
            if not isinstance(text, str) or not isinstance(entry.get("anno_id"), list):
                self.note("an expression lacks 'exp' or 'anno_id'", f"expression {key}")
                continue
            annotations = tuple(str(annotation) for annotation in entry["anno_id"])
            if meant.setdefault(_plain(text), annotations) != annotations:
                self.note("a sentence is given twice and means other objects", repr(text))
        if not meant:
            self.note("the video has no sentences with annotations", f"video {self._video}")
        return meant

    def _choose_tracks(self, tracks: Mapping[str, Any]) -> dict[str, list[RunLengths | None]]:
        """Masks of the annotations that this video's sentences refer to, in order of ids."""
        chosen: dict[str, list[RunLengths | None]] = {}
        named = {annotation for annotations in self._meant.values() for annotation in annotations}
        for annotation in sorted(named, key=lambda name: (len(name), name)):
            track = tracks.get(annotation)
            if isinstance(track, list) and track:
                chosen[annotation] = track
            else:
                self.note("an annotation has no masks", f"annotation {annotation}")
        return chosen

    def _match_frames(self, frames: object, recording: Path | None) -> dict[int, int] | None:
        """Annotation index of every image of the recording; None if they are the same."""
        names = recorded_names(recording)
        if not isinstance(frames, list) or not set(names) & {str(name) for name in frames}:
            return None
        places = {str(name): place for place, name in enumerate(frames)}
        for name in [name for name in places if name not in set(names)]:
            self.note("an annotated frame is not in the recording", f"frame {name}")
        return {index: places[name] for index, name in enumerate(names) if name in places}

    def _find_size(self) -> tuple[int, int] | None:
        size = most_frequent_size(self._tracks.values())
        if size is None:
            self.note(
                "the video has no readable mask, so nothing is scored", f"video {self._video}"
            )
        return size


def decode_entry(entry: RunLengths) -> np.ndarray:
    """Decode a run-length entry to (H, W) bool: `size`, and `counts` as text or as a list.

    Raises:
        ImageError: the entry is invalid.
    """
    try:
        height, width = (int(side) for side in entry["size"])
        counts = entry["counts"]
        lengths = [int(run) for run in counts] if isinstance(counts, list) else None
    except (KeyError, TypeError, ValueError) as error:
        raise ImageError("it is no COCO run-length entry.") from error
    if lengths is None:
        return run_lengths.decode(str(counts), height, width)
    if min(lengths, default=0) < 0 or sum(lengths) != height * width or not lengths:
        raise ImageError(f"its run lengths do not cover {height}x{width} pixels.")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, lengths).reshape(width, height).T)


def object_ids(expressions: object, annotations: Sequence[str]) -> tuple[dict[str, int], str]:
    """Object ids by annotation, and their kind: "obj_id" or "anno_id".

    If neither are unique integers, it is the "place among the anno_id", from 1.
    """
    pairs = {
        (str(annotation), number)
        for entry in (expressions.values() if isinstance(expressions, dict) else ())
        if isinstance(entry, dict) and isinstance(entry.get("anno_id"), list)
        for annotation, number in zip(
            entry["anno_id"], _numbers_of(entry, len(entry["anno_id"])), strict=True
        )
    }
    by_annotation = dict(pairs)
    known = [by_annotation.get(annotation) for annotation in annotations]
    is_one_to_one = len(pairs) == len(by_annotation) == len(set(by_annotation.values()))
    if is_one_to_one and all(type(number) is int and number >= 0 for number in known):
        return dict(zip(annotations, cast("list[int]", known), strict=True)), "obj_id"
    if all(annotation.isascii() and annotation.isdecimal() for annotation in annotations):
        return {annotation: int(annotation) for annotation in annotations}, "anno_id"
    places = {annotation: place for place, annotation in enumerate(annotations, start=1)}
    return places, "place among the anno_id"


def _numbers_of(entry: Mapping[str, Any], count: int) -> list[Any]:
    """The `obj_id` of an expression, one per annotation; None for missing ones."""
    numbers = entry.get("obj_id")
    if not isinstance(numbers, list) or len(numbers) != count:
        return [None] * count
    return [one if type(one) is int else None for one in numbers]


def most_frequent_size(tracks: Iterable[object]) -> tuple[int, int] | None:
    """The most frequent size (height, width) of run-length entries; None without entries."""
    sizes = Counter(
        (entry["size"][0], entry["size"][1])
        for track in tracks
        for entry in (track if isinstance(track, list) else ())
        if _is_sized(entry)
    )
    return max(sizes, key=lambda size: sizes[size]) if sizes else None


def _is_sized(entry: object) -> bool:
    size = entry.get("size") if isinstance(entry, dict) else None
    return (
        isinstance(size, list)
        and len(size) == 2
        and all(isinstance(side, int) and side > 0 for side in size)
    )


def choose_video(
    path: Path, videos: Mapping[str, Any], video: str | None, recording: Path | None
) -> str:
    """Id of the selected video; see `MevisGroundTruth`."""
    if video is not None:
        if video not in videos:
            raise SourceError(f"{path} has no video {video!r}; it has {len(videos)} others.")
        return video
    names = () if recording is None else (recording.name, recording.stem)
    for name in names:
        if name in videos:
            return name
    if len(videos) == 1:
        return next(iter(videos))
    raise SourceError(
        f"{path} has {len(videos)} videos, and none is named like the recording; choose one by "
        f"writing {path}#VIDEO."
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        SourceError: the file cannot be read or holds no JSON object.
    """
    try:
        document = json.loads(read_text(path))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SourceError(f"{path} is no JSON file: {error}.") from error
    if not isinstance(document, dict):
        raise SourceError(f"{path} holds no JSON object.")
    return document


def _plain(sentence: str) -> str:
    """The normalised sentence, for comparisons, without a full stop."""
    return plain(sentence).rstrip(".").rstrip()
