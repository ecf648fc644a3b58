# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time series of a run, frame by frame, read in one pass and in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from referdino_core.evaluation.stream_scores import (
    FALSE_ALARM,
    MISSED,
    POOR_MASK,
    WRONG_OBJECT,
    FrameScore,
    failure_of,
    state_of,
)
from referdino_core.messages import run_lengths
from referdino_core.report.engines import MemoryUse, count_memory
from referdino_core.report.formatting import Durations
from referdino_core.report.timeline import Timeline

if TYPE_CHECKING:
    from referdino_core.replay.run_folder import RunFolder


@dataclass(frozen=True)
class CommandFrame:
    """One command in one frame: an entry of a line of `frames.jsonl`.

    Attributes:
        given: index of the command in the summary. sentence: its text.
        targets: records of its targets, any number.
        truth: its score, a FrameScore as dict; None without ground truth.
    """

    given: int
    sentence: str
    targets: Sequence[Mapping[str, Any]]
    truth: Mapping[str, Any] | None

    @property
    def state(self) -> str:
        """The state of the command, see `state_of`; "searching" without targets."""
        return state_of([target["state"] for target in self.targets])

    def highest(self, score: str) -> float | None:
        """The highest `score` or `frame_score` of its targets; None without targets."""
        return max((target[score] for target in self.targets), default=None)

    @cached_property
    def failure(self) -> str:
        """The kind of failure; "" if nothing failed or there is no ground truth."""
        if self.truth is None:
            return ""
        # Older runs do not record whether a mask was predicted.
        seen = bool(self.truth["region"]) or any(map(_has_mask, self.targets))
        return failure_of(FrameScore(**self.truth), seen) or ""

    @property
    def quality(self) -> float | None:
        """J, or 0 for a false alarm; None without ground truth or if rightly empty."""
        if self.truth is None:
            return None
        return 0.0 if self.failure == FALSE_ALARM else self.truth["region"]

    def is_masked_as(self, other: CommandFrame) -> bool:
        """Whether another run's targets have identical masks."""
        mine, others = (
            [target["mask"]["counts"] for target in frame.targets] for frame in (self, other)
        )
        return mine == others

    def mask(self) -> np.ndarray | None:
        """Union of its targets' masks, (H, W) bool; None without targets."""
        masks = [_decoded(target) for target in self.targets]
        return np.logical_or.reduce(masks) if masks else None


def command_frames(frame: Mapping[str, Any]) -> list[CommandFrame]:
    """The commands active in a frame, in the order in which they were given."""
    targets: dict[int, list[Mapping[str, Any]]] = {}
    for target in frame["targets"]:
        targets.setdefault(target["given"], []).append(target)
    found = [
        CommandFrame(given, own[0]["command"], own, own[0]["truth"])
        for given, own in targets.items()
    ]
    found += [
        CommandFrame(entry["given"], entry["command"], (), entry["truth"])
        for entry in frame.get("without_target", ())
    ]
    return sorted(found, key=lambda one: one.given)


def _decoded(target: Mapping[str, Any]) -> np.ndarray:
    mask = target["mask"]
    return run_lengths.decode(mask["counts"], *mask["size"])


def _has_mask(target: Mapping[str, Any]) -> bool:
    return bool(_decoded(target).any())


# In order of severity: the most severe within a bucket is shown.
STATES = ("tracking", "searching", "occluded", "lost")
FAILURES = (POOR_MASK, FALSE_ALARM, WRONG_OBJECT, MISSED)
TROUBLES = ("dropped", "not read")

NANOSECONDS = 1e9


@dataclass
class CommandTrack:
    """One command over the run.

    Attributes:
        timeline: series `score`, `frame_score`, `region` (J), `boundary` (F), and `quality`: J
            where the target is present, 0 for a false alarm; rows `state` and `failure`, marked
            by index into STATES and FAILURES.
        failures: frames by kind of failure; states: frames by state.
    """

    key: str
    sentence: str
    timeline: Timeline = field(default_factory=Timeline)
    failures: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)


@dataclass
class RunTracks:
    """A run over time.

    Attributes:
        frames: number of lines of frames.jsonl.
        timeline: series `delay` in seconds; row `trouble`, marked by index into TROUBLES; row
            `dropped`, of which only the counts are used.
        timing: a series of measured seconds per part of the processing.
        commands: by their key in the run folder, in the order of their first frames.
        delays, measured: durations, the latter by part of the processing.
        memory: measured use of memory by kind.
    """

    frames: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    timing: Timeline = field(default_factory=Timeline)
    commands: dict[str, CommandTrack] = field(default_factory=dict)
    delays: Durations = field(default_factory=Durations)
    measured: dict[str, Durations] = field(default_factory=dict)
    memory: dict[str, MemoryUse] = field(default_factory=dict)


def collect(run: RunFolder) -> RunTracks:
    """Read the frames and timings of a run.

    Raises:
        SourceError: a line cannot be read.
    """
    tracks = RunTracks()
    start: int | None = None
    keys = run.command_keys
    for position, frame in enumerate(run.frames()):
        start = frame["stamp"] if start is None else start
        seconds = (frame["stamp"] - start) / NANOSECONDS
        _add_frame(tracks, position, seconds, frame)
        for command_frame in command_frames(frame):
            key = keys[command_frame.given]
            track = tracks.commands.setdefault(key, CommandTrack(key, command_frame.sentence))
            _add_command_frame(track, position, frame["index"], seconds, command_frame)
    for position, entry in enumerate(run.timing()):
        _add_timing(tracks, position, entry)
    return tracks


def _add_frame(tracks: RunTracks, position: int, seconds: float, frame: Mapping[str, Any]) -> None:
    tracks.frames = position + 1
    error, delay = frame.get("error"), frame.get("delay")
    trouble = None
    if error:
        trouble = TROUBLES.index("not read")
    elif frame.get("dropped"):
        trouble = TROUBLES.index("dropped")
    if delay is not None:
        tracks.delays.add(delay)
    dropped = 0 if frame.get("dropped") else None
    tracks.timeline.add(
        position,
        frame["index"],
        seconds,
        {"delay": delay},
        {"trouble": trouble, "dropped": dropped},
    )


def _add_command_frame(
    track: CommandTrack, position: int, index: int, seconds: float, command_frame: CommandFrame
) -> None:
    failure, state = command_frame.failure, command_frame.state
    if failure:
        track.failures[failure] += 1
    truth = command_frame.truth or {"region": None, "boundary": None}
    track.states[state] += 1
    track.timeline.add(
        position,
        index,
        seconds,
        {
            "score": command_frame.highest("score"),
            "frame_score": command_frame.highest("frame_score"),
            "region": truth["region"],
            "boundary": truth["boundary"],
            "quality": command_frame.quality,
        },
        {
            "state": STATES.index(state),
            "failure": FAILURES.index(failure) if failure else None,
        },
        failure,
    )


def _add_timing(tracks: RunTracks, position: int, entry: Mapping[str, Any]) -> None:
    parts: Mapping[str, float] = entry["seconds"]
    for part, seconds in parts.items():
        tracks.measured.setdefault(part, Durations()).add(seconds)
    count_memory(tracks.memory, entry.get("memory", {}))
    tracks.timing.add(position, entry["index"], float(entry["index"]), parts, {})
