# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time series downsampled to screen resolution, and the choice of highlights.

A timeline holds a bounded number of buckets, each of a power of two frames. When it is full,
neighbouring buckets are merged. A bucket keeps its lowest and highest value with their frames, so
that no peak is lost, and its most severe mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

MAX_BUCKETS = 1200  # a timeline is drawn at most about this many pixels wide


@dataclass(frozen=True)
class Sample:
    """A value of a series at one frame.

    Attributes:
        position: of the frame's line in frames.jsonl, from 0. index: of the frame in the source.
        seconds: from the first frame of the recording.
        value: of the series.
        failure: kind of failure, or "". note: further text to show.
    """

    position: int
    index: int
    seconds: float
    value: float
    failure: str = ""
    note: str = ""


@dataclass
class Bucket:
    """Consecutive frames, summarized.

    Attributes:
        first, last: positions of its frames; start, end: their seconds.
        index: of the first frame in the source.
        frames: number of frames.
        lowest, highest: samples per series.
        marks: the most severe (largest) mark per row.
        counts: number of marked frames per row.
    """

    first: int
    last: int
    start: float
    end: float
    index: int
    frames: int = 1
    lowest: dict[str, Sample] = field(default_factory=dict)
    highest: dict[str, Sample] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def absorb(self, later: Bucket) -> None:
        """Merge the following bucket into this one."""
        self.last, self.end = later.last, later.end
        self.frames += later.frames
        for name, sample in later.lowest.items():
            mine = self.lowest.get(name)
            if mine is None or sample.value < mine.value:
                self.lowest[name] = sample
        for name, sample in later.highest.items():
            mine = self.highest.get(name)
            if mine is None or sample.value > mine.value:
                self.highest[name] = sample
        for row, mark in later.marks.items():
            self.marks[row] = max(mark, self.marks.get(row, mark))
        for row, count in later.counts.items():
            self.counts[row] = self.counts.get(row, 0) + count


class Timeline:
    """The buckets of a recording, in order.

    Attributes:
        frames_per_bucket: 1 until the timeline is first downsampled.
    """

    def __init__(self, capacity: int = MAX_BUCKETS) -> None:
        self._capacity = capacity
        self._buckets: list[Bucket] = []
        self.frames_per_bucket = 1

    def __iter__(self) -> Iterator[Bucket]:
        return iter(self._buckets)

    def __len__(self) -> int:
        return len(self._buckets)

    def add(
        self,
        position: int,
        index: int,
        seconds: float,
        values: Mapping[str, float | None],
        marks: Mapping[str, int | None],
        failure: str = "",
        note: str = "",
    ) -> None:
        """Append a frame; positions increase. None stands for no value and no mark."""
        samples = {
            name: Sample(position, index, seconds, value, failure, note)
            for name, value in values.items()
            if value is not None
        }
        present = {row: mark for row, mark in marks.items() if mark is not None}
        self._append(
            Bucket(
                first=position,
                last=position,
                start=seconds,
                end=seconds,
                index=index,
                lowest=samples,
                highest=dict(samples),
                marks=present,
                counts=dict.fromkeys(present, 1),
            )
        )

    def _append(self, bucket: Bucket) -> None:
        last = self._buckets[-1] if self._buckets else None
        if last is not None and self._place(last) == self._place(bucket):
            last.absorb(bucket)
            return
        self._buckets.append(bucket)
        if len(self._buckets) > self._capacity:
            self._halve()

    def _halve(self) -> None:
        self.frames_per_bucket *= 2
        buckets, self._buckets = self._buckets, []
        for bucket in buckets:
            self._append(bucket)

    def _place(self, bucket: Bucket) -> int:
        return bucket.first // self.frames_per_bucket


MIN_DISTANCE = 1.0  # seconds between two highlights of the same command
MAX_HIGHLIGHTS = 6


@dataclass(frozen=True)
class Highlight:
    """A sample of the command with this key, to be shown with its image."""

    key: str
    sentence: str
    sample: Sample


def choose_highlights(
    candidates: Iterable[Highlight],
    key: Callable[[Highlight], float],
    most: int = MAX_HIGHLIGHTS,
) -> list[Highlight]:
    """The lowest candidates by `key`, taken in turn from every command and kind of failure.

    Highlights of one command are at least MIN_DISTANCE seconds apart. Taking turns keeps one long
    failure from filling the page.
    """
    groups: dict[tuple[str, str], list[Highlight]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.key, candidate.sample.failure), []).append(candidate)
    for group in groups.values():
        group.sort(key=lambda found: (key(found), found.sample.position))
    ordered = sorted(groups.values(), key=lambda group: key(group[0]))
    chosen: list[Highlight] = []
    for row in zip_longest(*(_apart(group, most) for group in ordered)):
        for candidate in row:
            if candidate and len(chosen) < most and _is_apart(candidate, chosen):
                chosen.append(candidate)
    return sorted(chosen, key=key)


def _apart(group: Sequence[Highlight], most: int) -> list[Highlight]:
    chosen: list[Highlight] = []
    for candidate in group:
        if len(chosen) == most:
            break
        if _is_apart(candidate, chosen):
            chosen.append(candidate)
    return chosen


def _is_apart(candidate: Highlight, others: Iterable[Highlight]) -> bool:
    return all(
        other.key != candidate.key
        or abs(other.sample.seconds - candidate.sample.seconds) >= MIN_DISTANCE
        for other in others
    )
