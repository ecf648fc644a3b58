# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The page of a pair of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referdino_core.report import bootstrap, plots
from referdino_core.report import formatting as words
from referdino_core.report.bootstrap import Difference
from referdino_core.report.comparison import (
    ClipPair,
    Contest,
    PairedRuns,
    contests,
    differences,
    pair_runs,
)
from referdino_core.report.formatting import changed_settings
from referdino_core.report.metrics_of_runs import Measure
from referdino_core.report.overlay_pictures import MAX_VIDEO_BYTES, pictures_at, take
from referdino_core.report.page import write_page
from referdino_core.report.player import clock_data, player_data
from referdino_core.report.run_report import AS_LIVE, problems_of
from referdino_core.report.run_tracks import FAILURES, STATES, CommandTrack, RunTracks, collect
from referdino_core.report.timeline import CommandMoment, choose

SIDES = ("A", "B")
MIN_DIFFERENCE = 0.05  # of J, or of overlap; less is no moment worth a picture
MAX_OTHER_COMMANDS = 12  # lines

_COLOURS = ("first", "second")


@dataclass(frozen=True)
class _ClipMoment:
    clip: ClipPair
    found: CommandMoment


def write_comparison(first: Path, second: Path, out: Path) -> Path:
    """Write the page that compares two runs, or two folders of runs of the same names.

    Args:
        first, second: run folders, or folders that hold run folders.
        out: the page.

    Returns:
        The page.

    Raises:
        SourceError: a folder holds no run, or the runs are of different sources.
        ReportUnavailable: jinja2 or plotly is not installed.
        OutputError: the page cannot be written.
    """
    runs = pair_runs(first, second)
    moments = _moments(runs)
    content = _common(runs) | {"paths": (str(first), str(second)), "out": out.name}
    if len(runs.clips) == 1:
        content |= _one_clip(runs.clips[0], moments)
    else:
        content |= _many_clips(runs, moments)
    return write_page(out, "comparison.html", content)


def _common(runs: PairedRuns) -> dict[str, Any]:
    found = differences(runs)
    summaries = [clip.first.summary for clip in runs.clips]
    return {
        "summary": summaries[0],
        "title": runs.clips[0].name if len(runs.clips) == 1 else f"{len(runs.clips)} clips",
        "sides": SIDES,
        "as_live": any(
            run.summary["clock"].get("kind") == AS_LIVE
            for clip in runs.clips
            for run in (clip.first, clip.second)
        ),
        "other_commands": _other_commands(runs),
        "measures": [_measure_row(*entry) for entry in found],
        "unit": "command" if len(runs.clips) == 1 else "clip",
        "bootstrap": bootstrap,
        "counts": _counts(runs),
        "changed": changed_settings(runs.clips[0].first.summary, runs.clips[0].second.summary),
        "unpaired": runs.unpaired,
        "clips": _clip_rows(runs) if len(runs.clips) > 1 else [],
        "words": words,
    }


def _other_commands(runs: PairedRuns) -> list[str]:
    """What only one run of a pair was told, and what means other objects, in lines."""
    lines = []
    for clip in runs.clips:
        prefix = "" if len(runs.clips) == 1 else f"{clip.name}, "
        for side, texts in zip(SIDES, clip.unshared_sentences, strict=True):
            if texts:
                lines.append(f"{prefix}only {side}: " + ", ".join(f"“{text}”" for text in texts))
        for text, first, second in clip.other_meanings:
            lines.append(
                f"{prefix}“{text}” is judged against other objects: "
                f"A {words.plain(first)}, B {words.plain(second)}"
            )
    more = len(lines) - MAX_OTHER_COMMANDS
    return lines if more <= 0 else [*lines[:MAX_OTHER_COMMANDS], f"and {more} more"]


def _measure_row(measure: Measure, difference: Difference | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": measure.name, "explanation": measure.explanation}
    if difference is None:
        return row | {"known": False}
    better = (difference.value > 0) == measure.higher_is_better and difference.value != 0
    verdict = "no difference"
    if difference.value:
        verdict = "better" if better else "worse"
        if difference.low is None:
            verdict += ", too few to be sure"
        elif not difference.is_clear:
            verdict += ", but not clear"
    return row | {
        "known": True,
        "first": _reached(measure, difference.first, difference, 0),
        "second": _reached(measure, difference.second, difference, 1),
        "value": difference.value,
        "change": _signed(measure, difference.value),
        "interval": None
        if difference.low is None or difference.high is None
        else f"{_signed(measure, difference.low)} … {_signed(measure, difference.high)}",
        "pairs": difference.pairs,
        "units": difference.units,
        "verdict": verdict,
        "class": "" if not difference.is_clear else ("good" if better else "bad"),
    }


def _reached(measure: Measure, value: float, difference: Difference, side: int) -> str:
    """A figure of one run; a median, which may be never, with how many of the pairs are not."""
    if measure.summing != "median":
        return measure.format(value)
    return f"{measure.format(value)} ({difference.reached[side]} of {difference.pairs})"


def _signed(measure: Measure, value: float) -> str:
    if math.isinf(value):
        return "+∞" if value > 0 else "−∞"
    text = measure.format(abs(value))
    is_zero = text == measure.format(0.0)
    return text if is_zero else f"{'+' if value > 0 else '−'}{text}"


def _counts(runs: PairedRuns) -> list[tuple[str, str, str]]:
    """What needs no ground truth: frames answered, dropped, late and failed, of all clips."""
    return [
        (
            f"frames {name}",
            words.count(sum(clip.first.summary["frames"].get(name, 0) for clip in runs.clips)),
            words.count(sum(clip.second.summary["frames"].get(name, 0) for clip in runs.clips)),
        )
        for name in ("read", "answered", "dropped", "late", "failed")
    ]


def _clip_rows(runs: PairedRuns) -> list[dict[str, Any]]:
    rows = []
    for clip in runs.clips:
        before, after = (
            ((run.summary.get("scores") or {}).get("all") or {}).get("region_and_boundary")
            for run in (clip.first, clip.second)
        )
        change = None if before is None or after is None else after - before
        rows.append({"name": clip.name, "scores": (before, after), "change": change})
    return sorted(rows, key=lambda row: (row["change"] is None, row["change"] or 0.0))


def _moments(runs: PairedRuns) -> dict[str, list[_ClipMoment]]:
    """Where the second run won, where it lost; without ground truth, where the two disagree."""
    clips: dict[str, ClipPair] = {}
    wins: list[CommandMoment] = []
    defeats: list[CommandMoment] = []
    disagreements: list[CommandMoment] = []
    for clip in runs.clips:
        clips[clip.name] = clip
        for contest in contests(clip):
            wins += choose(_candidates(clip, contest, "won", 1), _largest_first)
            defeats += choose(_candidates(clip, contest, "won", -1), _smallest_first)
            disagreements += choose(_candidates(clip, contest, "disagreement", 1), _largest_first)
    chosen = {
        "won": choose(wins, _largest_first),
        "lost": choose(defeats, _smallest_first),
        "different": choose(disagreements, _largest_first),
    }
    return {
        kind: [_ClipMoment(clips[found.key.partition("\n")[0]], found) for found in moments]
        for kind, moments in chosen.items()
    }


def _candidates(clip: ClipPair, contest: Contest, series: str, sign: int) -> list[CommandMoment]:
    extremes = (
        (stretch.highest if sign > 0 else stretch.lowest).get(series)
        for stretch in contest.timeline
    )
    return [
        CommandMoment(f"{clip.name}\n{contest.key}", contest.sentence, moment)
        for moment in extremes
        if moment is not None and sign * moment.value >= MIN_DIFFERENCE
    ]


def _largest_first(found: CommandMoment) -> float:
    return -found.moment.value


def _smallest_first(found: CommandMoment) -> float:
    return found.moment.value


def _one_clip(clip: ClipPair, moments: dict[str, list[_ClipMoment]]) -> dict[str, Any]:
    """Videos, timelines and moments of a single pair."""
    wanted = {entry.found.moment.position for group in moments.values() for entry in group}
    runs = (clip.first, clip.second)
    tracks = [collect(run) for run in runs]
    pictures = [
        take(run.overlay, track.frames, wanted, MAX_VIDEO_BYTES // 2)
        for run, track in zip(runs, tracks, strict=True)
    ]
    figures: list[plots.Figure] = []
    players = [
        {"name": side, "pictures": shown} for side, shown in zip(SIDES, pictures, strict=True)
    ]
    sides = [shown.pictures for shown in pictures]
    return {
        "problems": [
            f"{side}: {problem}"
            for side, run, track, shown in zip(SIDES, runs, tracks, pictures, strict=True)
            for problem in problems_of(run.summary, track, shown)
        ],
        "players": players,
        "timelines": _timelines(clip, tracks, figures),
        "lines": _shared_lines(figures),
        "marks": {"state": STATES, "fails": FAILURES},
        "moments": {
            kind: [_cell(entry, sides[0], sides[1], seekable=True) for entry in group]
            for kind, group in moments.items()
        },
        "data": {
            **clock_data(tracks[0]),
            "players": [
                player_data(track, shown.video)
                for track, shown in zip(tracks, pictures, strict=True)
            ],
            "figures": figures,
        },
    }


def _timelines(
    clip: ClipPair, tracks: Sequence[RunTracks], figures: list[plots.Figure]
) -> list[dict[str, Any]]:
    timelines = []
    for key in clip.commands:
        both = [track.commands.get(key) for track in tracks]
        present = [
            (side, colour, track, run)
            for side, colour, track, run in zip(SIDES, _COLOURS, both, tracks, strict=True)
            if track is not None
        ]
        if not present:
            continue
        judged = all(_is_judged(track) for _, _, track, _ in present)
        line = plots.Line("region", "J", "") if judged else plots.Line("score", "score", "")
        timelines.append({"sentence": clip.sentence(key), "figure": len(figures)})
        figures.append(plots.overlaid_figure(present, line, judged))
    return timelines


def _shared_lines(figures: Sequence[plots.Figure]) -> list[dict[str, str]]:
    """What the lines of all figures mean, each once."""
    lines = {
        trace["name"]: trace["line"]["color"].removeprefix("var(--").removesuffix(")")
        for figure in figures
        for trace in figure["data"]
        if "line" in trace
    }
    return [
        {"name": name, "colour": colour, "dash": "solid"} for name, colour in sorted(lines.items())
    ]


def _is_judged(track: CommandTrack) -> bool:
    return any("region" in stretch.lowest for stretch in track.timeline)


def _many_clips(runs: PairedRuns, moments: dict[str, list[_ClipMoment]]) -> dict[str, Any]:
    """Moments of many clips; no videos, which would make the page too large."""
    wanted: dict[str, set[int]] = {}
    for entry in (entry for group in moments.values() for entry in group):
        wanted.setdefault(entry.clip.name, set()).add(entry.found.moment.position)
    clips = {clip.name: clip for clip in runs.clips if clip.name in wanted}
    sides = [
        {name: pictures_at(run_of(clip).overlay, wanted[name]) for name, clip in clips.items()}
        for run_of in (lambda clip: clip.first, lambda clip: clip.second)
    ]
    return {
        "problems": [
            f"{clip.name}, {side}: {problem}"
            for clip in runs.clips
            for side, run in zip(SIDES, (clip.first, clip.second), strict=True)
            for problem in run.summary.get("problems", ())
        ],
        "players": [],
        "timelines": [],
        "marks": {},
        "moments": {
            kind: [
                _cell(entry, sides[0][entry.clip.name], sides[1][entry.clip.name], seekable=False)
                for entry in group
            ]
            for kind, group in moments.items()
        },
        "data": {
            **clock_data(RunTracks()),
            "players": [],
            "figures": [],
        },
    }


def _cell(
    entry: _ClipMoment, first: Mapping[int, str], second: Mapping[int, str], seekable: bool
) -> dict[str, Any]:
    moment = entry.found.moment
    return {
        "clip": "" if seekable else entry.clip.name,
        "sentence": entry.found.sentence,
        "pictures": (first.get(moment.position), second.get(moment.position)),
        "position": moment.position,
        "seekable": seekable,
        "index": moment.index,
        "seconds": words.seconds(moment.seconds),
        "note": moment.note,
        "failure": moment.failure,
    }
