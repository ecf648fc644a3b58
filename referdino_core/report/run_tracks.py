# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, frame by frame, gathered in one pass and in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from referdino_core.evaluation.stream_scores import (
    FALSE_ALARM,
    MISSED,
    POOR_MASK,
    WRONG_OBJECT,
)
from referdino_core.report.command_frames import CommandFrame, command_frames
from referdino_core.report.durations import Durations
from referdino_core.report.timeline import Timeline

if TYPE_CHECKING:
    from referdino_core.replay.run_folder import RunFolder

# The later, the graver: of several within a stretch the gravest is shown.
STATES = ("tracking", "searching", "occluded", "lost")
FAILURES = (POOR_MASK, FALSE_ALARM, WRONG_OBJECT, MISSED)
TROUBLES = ("dropped", "not read")

NANOSECONDS = 1e9


@dataclass
class CommandTrack:
    """One command over the run.

    Attributes:
        timeline: series `score`, `frame_score`, `region` (J), `boundary` (F), and `quality`: J
            where the target is present, 0 for a false alarm; rows `state` and `failure`, marks
            by their place in STATES and FAILURES.
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
        frames: how many lines frames.jsonl has.
        timeline: series `delay` in seconds; row `trouble`, marks by their place in TROUBLES; row
            `dropped`, which only counts.
        timing: series per part of the work, in measured seconds.
        commands: by their key in the run folder, in the order of their first frames.
        delays, measured: durations, the latter by part of the work.
    """

    frames: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    timing: Timeline = field(default_factory=Timeline)
    commands: dict[str, CommandTrack] = field(default_factory=dict)
    delays: Durations = field(default_factory=Durations)
    measured: dict[str, Durations] = field(default_factory=dict)


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
        for answer in command_frames(frame):
            key = keys[answer.given]
            track = tracks.commands.setdefault(key, CommandTrack(key, answer.sentence))
            _add_answer(track, position, frame["index"], seconds, answer)
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


def _add_answer(
    track: CommandTrack, position: int, index: int, seconds: float, answer: CommandFrame
) -> None:
    failure, state = answer.failure, answer.state
    if failure:
        track.failures[failure] += 1
    truth = answer.truth or {"region": None, "boundary": None}
    track.states[state] += 1
    track.timeline.add(
        position,
        index,
        seconds,
        {
            "score": answer.highest("score"),
            "frame_score": answer.highest("frame_score"),
            "region": truth["region"],
            "boundary": truth["boundary"],
            "quality": answer.quality,
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
    tracks.timing.add(position, entry["index"], float(entry["index"]), parts, {})
