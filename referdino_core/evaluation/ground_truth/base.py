# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Interface of ground truth: masks of objects per frame, objects of sentences, frame names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.media.image_files import images_in


@dataclass(frozen=True, eq=False)
class FrameGroundTruth:
    """Ground truth of a frame.

    Attributes:
        masks: object id to (H, W) bool. Label images number objects from 1, as 0 is their
            background; elsewhere, as in MeViS, an object may be 0. Masks may overlap; every object
            annotated in the frame is included, even with an empty mask.
        size: height and width in pixels.
        ignored: (H, W) bool, ignore mask; None if all pixels are evaluated.
    """

    masks: Mapping[int, np.ndarray]
    size: tuple[int, int]
    ignored: np.ndarray | None = None

    def of(self, objects: Collection[int]) -> np.ndarray:
        """Union of the masks of objects, (H, W) bool; objects without annotation are ignored."""
        union = np.zeros(self.size, dtype=bool)
        for number in objects:
            if number in self.masks:
                union |= self.masks[number]
        return union


class GroundTruth(ABC):
    """Ground truth of the frames of one source.

    Attributes:
        description: its origin, for messages and reports.
        problems: one line per kind of problem, with its count and first example; grows while the
            ground truth is read.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.problems: list[str] = []
        self._counted: dict[str, tuple[int, int, str]] = {}
        self._never_shown: set[int] = set()
        self._frames = self._frames_without = 0
        self._first_without = ""

    @abstractmethod
    def at(self, index: int, stamp: int) -> FrameGroundTruth | None:
        """Ground truth of one frame; None if it is not annotated and hence not scored.

        Args:
            index: position in the source, from 0. stamp: integer nanoseconds.
        """

    @property
    def objects(self) -> tuple[int, ...] | None:
        """Ids of all known objects, ascending; None if not known in advance."""
        return None

    def objects_of(self, sentence: str) -> tuple[int, ...] | None:
        """Objects that a sentence means; () if it matches nothing, None if unknown."""
        return None

    @property
    def gaps(self) -> list[str]:
        """A line on images without ground truth, of those that `for_image` was called for."""
        if not self._frames_without:
            return []
        return [
            f"{self._frames_without} of {self._frames} frames have no ground truth; "
            f"the first: {self._first_without}"
        ]

    def for_image(
        self, index: int, stamp: int, size: tuple[int, int] | None = None
    ) -> FrameGroundTruth | None:
        """Ground truth of an image; call it once for every frame, in order.

        Like `at`; ground truth of another size is a problem, and the frame is not scored.

        Args:
            size: height and width in pixels; None if the image cannot be read.
        """
        truth = self.at(index, stamp)
        self._frames += 1
        if truth is None:
            self._frames_without += 1
            self._first_without = self._first_without or f"frame {index}"
        if truth is None or size is None or truth.size == tuple(size):
            return truth
        self.note(
            "ground truth has another size than the image",
            f"frame {index}, {truth.size[1]}x{truth.size[0]} instead of {size[1]}x{size[0]}",
        )
        return None

    def resolve(self, sentence: str, named: Collection[int] | None = None) -> tuple[int, ...]:
        """Objects that a command means: those that it names, else those of its sentence.

        Args:
            named: ids that the command names; None if it names none.

        Raises:
            SourceError: it is unknown which of several objects is meant.
        """
        known = self.objects
        if named is not None:
            strangers = set(named) - set(named if known is None else known)
            for number in sorted(strangers - self._never_shown):
                self.note("an object that a command names never appears", f"object {number}")
            self._never_shown |= strangers
            return tuple(sorted(set(named)))
        meant = self.objects_of(sentence)
        if meant is not None:
            return meant
        if known is not None and len(known) == 1:
            return known
        listed = "" if known is None else ", ".join(str(number) for number in known) or "none"
        raise SourceError(
            f"{self.description} does not say which object {sentence!r} means; say it with "
            f'--means "{sentence}=1", or with objects: [1] in a file of commands'
            f"{listed and f' (there are: {listed})'}."
        )

    def note(self, problem: str, example: str) -> None:
        """Count a problem; its line gives the count and the first example."""
        place, count, first = self._counted.get(problem, (len(self.problems), 0, example))
        count += 1
        line = f"{problem}: {first}" if count == 1 else f"{problem}, {count} times, first: {first}"
        if count == 1:
            self.problems.append(line)
        self.problems[place] = line
        self._counted[problem] = (place, count, first)

    def close(self) -> None:
        """Release resources; may be called more than once."""
        return None

    def __enter__(self) -> GroundTruth:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


SMALLEST_LARGEST_STAMP = 10_000_000
"""Nanoseconds. Larger numbers are stamps: no recording has ten million frames."""
STAMP_TOLERANCE = 500_000
"""Nanoseconds by which the stamps of a name and a frame may differ, due to rounding."""


class FrameNames:
    """Mapping from frames to file names of annotations.

    If the source is a folder of images, names are those of the images. Otherwise they are numbers:
    indices from 0, with or without gaps, or stamps in nanoseconds.
    """

    def __init__(self, names: Sequence[str], recording: Path | None) -> None:
        """Determine the kind of names.

        Args:
            names: file names without suffix.
            recording: the source, if it is known.
        """
        self._by_index: dict[int, str] = {}
        self._stamps: list[int] = []
        self._by_stamp: dict[int, str] = {}
        known = set(names)
        images = recorded_names(recording)
        if known & set(images):
            self._by_index = {i: name for i, name in enumerate(images) if name in known}
            return
        numbers = {int(name): name for name in names if name.isascii() and name.isdecimal()}
        if max(numbers, default=0) >= SMALLEST_LARGEST_STAMP:
            self._by_stamp, self._stamps = numbers, sorted(numbers)
        else:
            self._by_index = numbers

    @property
    def understood(self) -> frozenset[str]:
        """The names that can belong to a frame."""
        return frozenset(self._by_index.values()) | frozenset(self._by_stamp.values())

    def at(self, index: int, stamp: int) -> str | None:
        """Name of a frame, by its index from 0 or its stamp in nanoseconds; None without one."""
        if not self._stamps:
            return self._by_index.get(index)
        after = bisect_left(self._stamps, stamp)
        nearest = min(
            self._stamps[max(after - 1, 0) : after + 1], key=lambda known: abs(known - stamp)
        )
        return self._by_stamp[nearest] if abs(nearest - stamp) <= STAMP_TOLERANCE else None


def recorded_names(recording: Path | None) -> list[str]:
    """Names of the images of a folder in order, without suffix; none for other recordings."""
    if recording is None or not recording.is_dir() or (recording / "metadata.yaml").exists():
        return []
    try:
        return [path.stem for path in images_in(recording)]
    except SourceError:  # such as a bag that was not closed
        return []
