# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which frame of a source a file name means."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.media.sources import images_in

SMALLEST_LARGEST_STAMP = 10_000_000
"""Nanoseconds. A largest number from here on is a stamp: no recording has ten million frames."""
STAMP_TOLERANCE = 500_000
"""Nanoseconds by which a name's stamp and a frame's may differ; names may come from seconds."""


class FrameNames:
    """Finds the name that belongs to a frame.

    Where the source is a folder of images, names are those of the images. Elsewhere they are
    numbers: running ones from 0, with or without gaps, or stamps in nanoseconds.
    """

    def __init__(self, names: Sequence[str], recording: Path | None) -> None:
        """Work out what the names are.

        Args:
            names: file names without their endings.
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
        """The names that belong to some frame."""
        return frozenset(self._by_index.values()) | frozenset(self._by_stamp.values())

    def at(self, index: int, stamp: int) -> str | None:
        """Name of a frame, by its place from 0 or its stamp in nanoseconds; None: it has none."""
        if not self._stamps:
            return self._by_index.get(index)
        after = bisect_left(self._stamps, stamp)
        nearest = min(
            self._stamps[max(after - 1, 0) : after + 1], key=lambda known: abs(known - stamp)
        )
        return self._by_stamp[nearest] if abs(nearest - stamp) <= STAMP_TOLERANCE else None


def recorded_names(recording: Path | None) -> list[str]:
    """Names of the images of a recording in their order, without endings; none elsewhere."""
    if recording is None or not recording.is_dir() or (recording / "metadata.yaml").exists():
        return []
    try:
        return [path.stem for path in images_in(recording)]
    except SourceError:  # such as a bag that was not closed
        return []
