# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Series over a recording, thinned out to what a screen shows.

A timeline holds a bounded number of stretches, each of a power of two frames. When it is full, two
neighbours become one. The lowest and the highest value of a stretch survive with the frames they
belong to, so that no peak is lost, and of its marks the gravest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

MAX_STRETCHES = 1200  # a timeline is drawn at most about this many pixels wide


@dataclass(frozen=True)
class Moment:
    """A frame, by its place among the lines of frames.jsonl from 0 and its index in the source.

    Attributes:
        seconds: from the first frame of the recording.
        value: of the series that the moment belongs to.
        failure: what failed there, or "". note: what else is to be said of it.
    """

    position: int
    index: int
    seconds: float
    value: float
    failure: str = ""
    note: str = ""


@dataclass
class Stretch:
    """Neighbouring frames, summed up.

    Attributes:
        first, last: positions of its frames; start, end: their seconds.
        index: in the source, of the first frame.
        frames: how many there are.
        lowest, highest: per series that has a value here.
        marks: per row the gravest mark, the larger number.
        counts: per row how many frames have a mark.
    """

    first: int
    last: int
    start: float
    end: float
    index: int
    frames: int = 1
    lowest: dict[str, Moment] = field(default_factory=dict)
    highest: dict[str, Moment] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def absorb(self, later: Stretch) -> None:
        """Take in the stretch that follows."""
        self.last, self.end = later.last, later.end
        self.frames += later.frames
        for name, moment in later.lowest.items():
            mine = self.lowest.get(name)
            if mine is None or moment.value < mine.value:
                self.lowest[name] = moment
        for name, moment in later.highest.items():
            mine = self.highest.get(name)
            if mine is None or moment.value > mine.value:
                self.highest[name] = moment
        for row, mark in later.marks.items():
            self.marks[row] = max(mark, self.marks.get(row, mark))
        for row, count in later.counts.items():
            self.counts[row] = self.counts.get(row, 0) + count


class Timeline:
    """Stretches over a recording, in order.

    Attributes:
        frames_per_stretch: 1 as long as nothing was thinned out.
    """

    def __init__(self, capacity: int = MAX_STRETCHES) -> None:
        self._capacity = capacity
        self._stretches: list[Stretch] = []
        self.frames_per_stretch = 1

    def __iter__(self) -> Iterator[Stretch]:
        return iter(self._stretches)

    def __len__(self) -> int:
        return len(self._stretches)

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
        """Append a frame; positions only ever grow. None stands for no value and no mark."""
        moments = {
            name: Moment(position, index, seconds, value, failure, note)
            for name, value in values.items()
            if value is not None
        }
        present = {row: mark for row, mark in marks.items() if mark is not None}
        self._append(
            Stretch(
                first=position,
                last=position,
                start=seconds,
                end=seconds,
                index=index,
                lowest=moments,
                highest=dict(moments),
                marks=present,
                counts=dict.fromkeys(present, 1),
            )
        )

    def _append(self, stretch: Stretch) -> None:
        last = self._stretches[-1] if self._stretches else None
        if last is not None and self._place(last) == self._place(stretch):
            last.absorb(stretch)
            return
        self._stretches.append(stretch)
        if len(self._stretches) > self._capacity:
            self._halve()

    def _halve(self) -> None:
        self.frames_per_stretch *= 2
        stretches, self._stretches = self._stretches, []
        for stretch in stretches:
            self._append(stretch)

    def _place(self, stretch: Stretch) -> int:
        return stretch.first // self.frames_per_stretch


MIN_DISTANCE = 1.0  # seconds between two moments of the same command
MAX_MOMENTS = 6


@dataclass(frozen=True)
class CommandMoment:
    """A moment of the command with this key."""

    key: str
    sentence: str
    moment: Moment


def choose(
    candidates: Iterable[CommandMoment],
    badness: Callable[[CommandMoment], float],
    most: int = MAX_MOMENTS,
) -> list[CommandMoment]:
    """The first moments by `badness`, lowest first, some from every command and kind of failure.

    Moments of one command are at least MIN_DISTANCE seconds apart. Commands and kinds of failure
    take turns, so that one long failure does not fill the page with itself.
    """
    groups: dict[tuple[str, str], list[CommandMoment]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.key, candidate.moment.failure), []).append(candidate)
    for group in groups.values():
        group.sort(key=lambda found: (badness(found), found.moment.position))
    ordered = sorted(groups.values(), key=lambda group: badness(group[0]))
    chosen: list[CommandMoment] = []
    for row in zip_longest(*(_apart(group, most) for group in ordered)):
        for candidate in row:
            if candidate and len(chosen) < most and _is_apart(candidate, chosen):
                chosen.append(candidate)
    return sorted(chosen, key=badness)


def _apart(group: Sequence[CommandMoment], most: int) -> list[CommandMoment]:
    chosen: list[CommandMoment] = []
    for candidate in group:
        if len(chosen) == most:
            break
        if _is_apart(candidate, chosen):
            chosen.append(candidate)
    return chosen


def _is_apart(candidate: CommandMoment, others: Iterable[CommandMoment]) -> bool:
    return all(
        other.key != candidate.key
        or abs(other.moment.seconds - candidate.moment.seconds) >= MIN_DISTANCE
        for other in others
    )
