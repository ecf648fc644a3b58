# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What ground truth is: masks of objects per frame, and what sentences mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from referdino_core.errors import SourceError


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """Which pixels of a frame belong to which object.

    Attributes:
        masks: object id to (H, W) bool. Label images number objects from 1, as 0 is their
            background; elsewhere, as in MeViS, an object may be 0. Masks may overlap; every object
            that the frame annotates is here, also where its mask is empty.
        size: height and width in pixels.
        void: (H, W) bool, pixels that are not judged; None where all are.
    """

    masks: Mapping[int, np.ndarray]
    size: tuple[int, int]
    void: np.ndarray | None = None

    def of(self, objects: Collection[int]) -> np.ndarray:
        """Union of the masks of some objects, (H, W) bool; an object not annotated adds nothing."""
        union = np.zeros(self.size, dtype=bool)
        for number in objects:
            if number in self.masks:
                union |= self.masks[number]
        return union


class Truth(ABC):
    """Ground truth about the frames of one source.

    Attributes:
        description: where it comes from, for messages and reports.
        problems: what was found wrong, a line for each kind with how often and the first example;
            grows while the ground truth is read.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self.problems: list[str] = []
        self._counted: dict[str, tuple[int, int, str]] = {}
        self._never_shown: set[int] = set()
        self._frames = self._frames_without = 0
        self._first_without = ""

    @abstractmethod
    def at(self, index: int, stamp: int) -> FrameTruth | None:
        """Ground truth of one frame; None where it is not annotated, so not scored.

        Args:
            index: place in the source, from 0. stamp: integer nanoseconds.
        """

    @property
    def objects(self) -> tuple[int, ...] | None:
        """Ids of all objects that are known, ascending; None where nobody can know yet."""
        return None

    def objects_of(self, sentence: str) -> tuple[int, ...] | None:
        """Objects that a sentence means; () where it is true of nothing, None where unknown."""
        return None

    @property
    def gaps(self) -> list[str]:
        """How many of the images that `for_image` was asked for have no ground truth; empty where
        all have.
        """
        if not self._frames_without:
            return []
        return [
            f"{self._frames_without} of {self._frames} frames have no truth; "
            f"the first: {self._first_without}"
        ]

    def for_image(
        self, index: int, stamp: int, size: tuple[int, int] | None = None
    ) -> FrameTruth | None:
        """Ground truth of an image; to be asked once for every frame, in their order.

        Like `at`; ground truth of another size is a problem, and the frame is not scored.

        Args:
            size: height and width in pixels; None where the image cannot be read.
        """
        truth = self.at(index, stamp)
        self._frames += 1
        if truth is None:
            self._frames_without += 1
            self._first_without = self._first_without or f"frame {index}"
        if truth is None or size is None or truth.size == tuple(size):
            return truth
        self.note(
            "truth has another size than the image",
            f"frame {index}, {truth.size[1]}x{truth.size[0]} instead of {size[1]}x{size[0]}",
        )
        return None

    def resolve(self, sentence: str, named: Collection[int] | None = None) -> tuple[int, ...]:
        """Objects that a command means: those that it names, else those that its sentence means.

        Args:
            named: ids that the command names; None where it names none.

        Raises:
            SourceError: nobody says which of several objects is meant.
        """
        known = self.objects
        if named is not None:
            strangers = set(named) - set(named if known is None else known)
            for number in sorted(strangers - self._never_shown):
                self.note("an object that a command names never shows", f"object {number}")
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
        """Count a problem; its line tells how often it was met, and the first example."""
        place, count, first = self._counted.get(problem, (len(self.problems), 0, example))
        count += 1
        line = f"{problem}: {first}" if count == 1 else f"{problem}, {count} times, first: {first}"
        if count == 1:
            self.problems.append(line)
        self.problems[place] = line
        self._counted[problem] = (place, count, first)

    def close(self) -> None:
        """Release what is open; may be called more than once."""
        return None

    def __enter__(self) -> Truth:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
