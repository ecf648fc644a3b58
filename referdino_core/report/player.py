# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the page's script needs to keep videos, timelines and readings together."""

from __future__ import annotations

from typing import Any

from referdino_core.report.overlay_pictures import VIDEO_TYPE, PageVideo
from referdino_core.report.plots import MARKS
from referdino_core.report.run_tracks import FAILURES, STATES, TROUBLES, CommandTrack, RunTracks
from referdino_core.report.timeline import Stretch

_DIGITS = 4


def clock_data(tracks: RunTracks) -> dict[str, Any]:
    """Frames and their seconds; between the given ones the page interpolates.

    `positions` count frames of the run, `indices` those of its source.
    """
    stretches = list(tracks.timeline)
    last = stretches[-1:]
    return {
        "frames": tracks.frames,
        "positions": [stretch.first for stretch in stretches] + [s.last for s in last],
        "times": [round(s.start, _DIGITS) for s in stretches]
        + [round(s.end, _DIGITS) for s in last],
        "indices": [stretch.index for stretch in stretches]
        + [s.index + s.last - s.first for s in last],
        "marks": MARKS,
    }


def player_data(tracks: RunTracks, video: PageVideo | None) -> dict[str, Any]:
    """How a video is to be played, and what is to be read beside it."""
    return {
        "video": None
        if video is None
        else {"rate": video.rate, "step": video.step, "type": VIDEO_TYPE},
        "troubles": _changes(
            [(stretch.first, _mark(stretch, "trouble", TROUBLES)) for stretch in tracks.timeline]
        ),
        "commands": [_readings(track) for track in tracks.commands.values()],
        "exact": tracks.timeline.frames_per_stretch == 1,
    }


def _readings(track: CommandTrack) -> dict[str, Any]:
    stretches = list(track.timeline)
    return {
        "sentence": track.sentence,
        "starts": [stretch.first for stretch in stretches],
        "last": stretches[-1].last if stretches else -1,
        "state": [_mark(stretch, "state", STATES) for stretch in stretches],
        "failure": [_mark(stretch, "failure", FAILURES) for stretch in stretches],
        "score": [_lowest(stretch, "score") for stretch in stretches],
        "region": [_lowest(stretch, "region") for stretch in stretches],
    }


def _mark(stretch: Stretch, row: str, names: tuple[str, ...]) -> int | None:
    mark = stretch.marks.get(row)
    return None if mark is None else MARKS.index(names[mark])


def _lowest(stretch: Stretch, series: str) -> float | None:
    moment = stretch.lowest.get(series)
    return None if moment is None else round(moment.value, _DIGITS)


def _changes(marks: list[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    """Only the places where the mark becomes another."""
    changes: list[tuple[int, int | None]] = []
    for position, mark in marks:
        if not changes or changes[-1][1] != mark:
            changes.append((position, mark))
    return changes
