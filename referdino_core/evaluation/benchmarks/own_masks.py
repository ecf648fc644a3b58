# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Masks of a user's own clips: label images, or COCO run lengths by object and frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.evaluation.ground_truth.base import FrameNames
from referdino_core.evaluation.ground_truth.label_images import VOID, pngs_in, read_labels
from referdino_core.evaluation.ground_truth.mevis import decode_entry, most_frequent_size

_NOWHERE = -1
"""A stamp that no frame has."""

Note = Callable[[str], None]


class OwnMasks(ABC):
    """Ground truth of a clip.

    Attributes:
        objects: ids.
        names: of the frames that are annotated for all objects, in the user's files, by index.
    """

    objects: frozenset[int]
    names: Mapping[int, str]

    @abstractmethod
    def read(self, index: int) -> FrameGroundTruth:
        """The masks of an annotated frame.

        Raises:
            ImageError: they cannot be read; the message names the file.
        """

    def at(self, index: int) -> FrameGroundTruth | None:
        """The masks of a frame; None if it is not annotated."""
        return self.read(index) if index in self.names else None


class RunLengthMasks(OwnMasks):
    """Run lengths by object and frame."""

    def __init__(
        self, given: Mapping[str, Any], source: Path, count: int, place: str, note: Note
    ) -> None:
        """Check the entries, without decoding them.

        Args:
            given: `{OBJECT: {FRAME: {"size": [H, W], "counts": …} or null}}`.
            source: of the `count` images.
            place: file and clip, for messages.
            note: takes a line for everything that is left out.

        Raises:
            SourceError: nothing can be used.
        """
        self._place = place
        self._tracks: dict[int, dict[str, Any]] = {
            int(number): {str(frame): code for frame, code in frames.items()}
            for number, frames in given.items()
            if _is_track(number, frames, place, note)
        }
        size = most_frequent_size(list(frames.values()) for frames in self._tracks.values())
        if size is None:
            raise SourceError(f'{place}: its "masks" hold no run lengths {{"size", "counts"}}.')
        self._size = size
        self.objects = frozenset(self._tracks)
        names = sorted({name for frames in self._tracks.values() for name in frames})
        self.names = {
            index: name
            for index, name in frame_places(names, source, count, f'{place}, "masks"', note).items()
            if self._is_complete(name, note)
        }
        if not self.names:
            raise SourceError(f"{place}: no frame has a mask, or null, for each of its objects.")

    def read(self, index: int) -> FrameGroundTruth:
        return FrameGroundTruth(
            {number: self._mask(number, self.names[index]) for number in sorted(self._tracks)},
            self._size,
        )

    def _mask(self, number: int, name: str) -> np.ndarray:
        where = f"{self._place}: the mask of object {number} in frame {name}"
        code = self._tracks[number][name]
        if code is None:
            return np.zeros(self._size, dtype=bool)
        try:
            mask = decode_entry(code)
        except ImageError as error:
            raise ImageError(f"{where}: {error}") from error
        if mask.shape != self._size:
            raise ImageError(
                f"{where} is {mask.shape[1]}x{mask.shape[0]}, most others are "
                f"{self._size[1]}x{self._size[0]}."
            )
        return mask

    def _is_complete(self, name: str, note: Note) -> bool:
        missing = [str(number) for number, frames in self._tracks.items() if name not in frames]
        if missing:
            note(
                f"{self._place}: frame {name} is not used, as it has no mask of object "
                f"{', '.join(missing)}; write null where an object is not visible."
            )
        return not missing


class LabelMasks(OwnMasks):
    """A folder of PNG label images."""

    def __init__(self, folder: Path, source: Path, count: int, place: str, note: Note) -> None:
        """Read every image once to collect the objects.

        Args:
            source: of the `count` images.
            place: file and clip, for messages.
            note: takes a line for everything that is left out.

        Raises:
            SourceError: nothing can be used.
        """
        try:
            files = {path.stem: path for path in pngs_in(folder)}
        except OSError as error:
            raise SourceError(
                f"{place}: the folder of masks {folder} cannot be read: {error.strerror}."
            ) from error
        if not files:
            raise SourceError(f"{place}: the folder of masks {folder} holds no PNG files.")
        self._files = files
        found = frame_places(sorted(files), source, count, str(folder), note)
        shown = {index: self._shown(files[name], note) for index, name in found.items()}
        self.names = {index: found[index] for index, ids in shown.items() if ids is not None}
        self.objects = frozenset().union(*(ids for ids in shown.values() if ids is not None))
        if not self.objects:
            raise SourceError(f"{place}: no object is in the label images of {folder}.")

    def read(self, index: int) -> FrameGroundTruth:
        labels = read_labels(self._files[self.names[index]])
        height, width = labels.shape
        masks = {number: labels == number for number in sorted(self.objects)}
        return FrameGroundTruth(masks, (height, width), labels == VOID)

    def _shown(self, path: Path, note: Note) -> frozenset[int] | None:
        """Ids of the objects in a label image; None if it cannot be read."""
        try:
            values = set(np.unique(read_labels(path)).tolist())
        except ImageError as error:
            note(str(error))
            return None
        if values <= {0, VOID} and VOID in values:
            note(
                f"{path} holds only 0 and 255, which means 'ignored'; write the id of the object "
                "instead of 255."
            )
        return frozenset(values - {0, VOID})


def frame_places(
    names: Sequence[str], source: Path, count: int, place: str, note: Note
) -> dict[int, str]:
    """Names of annotated frames by index, ascending; names of no frame are noted.

    Raises:
        SourceError: no name is a frame's.
    """
    known = FrameNames(names, source)
    found = {
        index: name for index in range(count) if (name := known.at(index, _NOWHERE)) is not None
    }
    if not found:
        raise SourceError(
            f"{place}: no mask belongs to a frame of {source}; name masks by the index of the "
            "frame from 0, or like its image."
        )
    for stranger in sorted(set(names) - set(found.values())):
        note(f"{place}: {stranger!r} is not a frame of {source}, which has {count}, from 0.")
    return found


def _is_track(number: str, frames: Any, place: str, note: Note) -> bool:
    if not (number.isascii() and number.isdecimal()):
        note(f"{place}: the masks of object {number!r} are not used: its id must be a number.")
        return False
    if not isinstance(frames, dict) or not frames:
        note(f"{place}: the masks of object {number} are not used: they are no {{FRAME: …}}.")
        return False
    return True
