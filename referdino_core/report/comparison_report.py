# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The comparison page of two runs, or of two folders of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from referdino_core.report import bootstrap, formatting, plots
from referdino_core.report.bootstrap import Difference
from referdino_core.report.comparison import (
    ClipPair,
    HeadToHead,
    PairedRuns,
    differences,
    head_to_heads,
    pair_runs,
)
from referdino_core.report.engines import engine_rows, engine_use
from referdino_core.report.formatting import changed_settings
from referdino_core.report.metrics import Metric
from referdino_core.report.overlay_images import MAX_VIDEO_BYTES, images_at, take
from referdino_core.report.page import clock_data, player_data, write_page
from referdino_core.report.run_report import AS_LIVE, problems_of
from referdino_core.report.run_tracks import FAILURES, STATES, CommandTrack, RunTracks, collect
from referdino_core.report.timeline import Highlight, choose_highlights

SIDES = ("A", "B")
MIN_DIFFERENCE = 0.05  # of J, or of overlap, for a highlight
MAX_OTHER_COMMANDS = 12  # lines

_COLOURS = ("first", "second")


@dataclass(frozen=True)
class _ClipHighlight:
    clip: ClipPair
    found: Highlight


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
    moments = _highlights(runs)
    content = _common(runs) | {"paths": (str(first), str(second)), "out": out.name}
    if len(runs.clips) == 1:
        content |= _one_clip(runs.clips[0], moments)
    else:
        content |= _many_clips(runs, moments)
    return write_page(out, "comparison.html", content)


def _common(runs: PairedRuns) -> dict[str, Any]:
    found = differences(runs)
    summaries = [clip.first.summary for clip in runs.clips]
    engines = [
        engine_use([clip.first for clip in runs.clips]),
        engine_use([clip.second for clip in runs.clips]),
    ]
    return {
        "summary": summaries[0],
        "title": runs.clips[0].name if len(runs.clips) == 1 else f"{len(runs.clips)} clips",
        "sides": SIDES,
        "engines": engine_rows(*engines),
        "names": [engine.name for engine in engines],
        "as_live": any(
            run.summary["clock"].get("kind") == AS_LIVE
            for clip in runs.clips
            for run in (clip.first, clip.second)
        ),
        "other_commands": _other_commands(runs),
        "metrics": [_metric_row(*entry) for entry in found],
        "unit": "command" if len(runs.clips) == 1 else "clip",
        "bootstrap": bootstrap,
        "counts": _counts(runs),
        "changed": changed_settings(runs.clips[0].first.summary, runs.clips[0].second.summary),
        "unpaired": runs.unpaired,
        "clips": _clip_rows(runs) if len(runs.clips) > 1 else [],
        "formatting": formatting,
    }


def _other_commands(runs: PairedRuns) -> list[str]:
    """Commands of one run only, and commands that mean different objects, a line each."""
    lines = []
    for clip in runs.clips:
        prefix = "" if len(runs.clips) == 1 else f"{clip.name}, "
        for side, texts in zip(SIDES, clip.unshared_sentences, strict=True):
            if texts:
                lines.append(f"{prefix}only {side}: " + ", ".join(f"“{text}”" for text in texts))
        for text, first, second in clip.other_meanings:
            lines.append(
                f"{prefix}“{text}” is scored against different objects: "
                f"A {formatting.plain(first)}, B {formatting.plain(second)}"
            )
    more = len(lines) - MAX_OTHER_COMMANDS
    return lines if more <= 0 else [*lines[:MAX_OTHER_COMMANDS], f"and {more} more"]


def _metric_row(metric: Metric, difference: Difference | None) -> dict[str, Any]:
    row: dict[str, Any] = {"name": metric.name, "explanation": metric.explanation}
    if difference is None:
        return row | {"known": False}
    better = (difference.value > 0) == metric.higher_is_better and difference.value != 0
    verdict = "no difference"
    if difference.value:
        verdict = "better" if better else "worse"
        if difference.low is None:
            verdict += ", too few to be sure"
        elif not difference.is_clear:
            verdict += ", but not clear"
    return row | {
        "known": True,
        "first": _reached(metric, difference.first, difference, 0),
        "second": _reached(metric, difference.second, difference, 1),
        "value": difference.value,
        "change": _signed(metric, difference.value),
        "interval": None
        if difference.low is None or difference.high is None
        else f"{_signed(metric, difference.low)} … {_signed(metric, difference.high)}",
        "pairs": difference.pairs,
        "units": difference.units,
        "verdict": verdict,
        "class": "" if not difference.is_clear else ("good" if better else "bad"),
    }


def _reached(metric: Metric, value: float, difference: Difference, side: int) -> str:
    """A metric of one run; medians with the number of finite values among the pairs."""
    if metric.aggregation != "median":
        return metric.format(value)
    return f"{metric.format(value)} ({difference.reached[side]} of {difference.pairs})"


def _signed(metric: Metric, value: float) -> str:
    if math.isinf(value):
        return "+∞" if value > 0 else "−∞"
    text = metric.format(abs(value))
    is_zero = text == metric.format(0.0)
    return text if is_zero else f"{'+' if value > 0 else '−'}{text}"


def _counts(runs: PairedRuns) -> list[tuple[str, str, str]]:
    """Counts of frames processed, dropped, late and failed, over all clips."""
    return [
        (
            f"frames {'processed' if name == 'answered' else name}",
            formatting.count(sum(clip.first.summary["frames"].get(name, 0) for clip in runs.clips)),
            formatting.count(
                sum(clip.second.summary["frames"].get(name, 0) for clip in runs.clips)
            ),
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


def _highlights(runs: PairedRuns) -> dict[str, list[_ClipHighlight]]:
    """Where the second run is better, and worse; without ground truth, where the two disagree."""
    clips: dict[str, ClipPair] = {}
    wins: list[Highlight] = []
    defeats: list[Highlight] = []
    disagreements: list[Highlight] = []
    for clip in runs.clips:
        clips[clip.name] = clip
        for head_to_head in head_to_heads(clip):
            wins += choose_highlights(_candidates(clip, head_to_head, "won", 1), _largest_first)
            defeats += choose_highlights(
                _candidates(clip, head_to_head, "won", -1), _smallest_first
            )
            disagreements += choose_highlights(
                _candidates(clip, head_to_head, "disagreement", 1), _largest_first
            )
    chosen = {
        "won": choose_highlights(wins, _largest_first),
        "lost": choose_highlights(defeats, _smallest_first),
        "different": choose_highlights(disagreements, _largest_first),
    }
    return {
        kind: [_ClipHighlight(clips[found.key.partition("\n")[0]], found) for found in moments]
        for kind, moments in chosen.items()
    }


def _candidates(
    clip: ClipPair, head_to_head: HeadToHead, series: str, sign: int
) -> list[Highlight]:
    extremes = (
        (bucket.highest if sign > 0 else bucket.lowest).get(series)
        for bucket in head_to_head.timeline
    )
    return [
        Highlight(f"{clip.name}\n{head_to_head.key}", head_to_head.sentence, sample)
        for sample in extremes
        if sample is not None and sign * sample.value >= MIN_DIFFERENCE
    ]


def _largest_first(found: Highlight) -> float:
    return -found.sample.value


def _smallest_first(found: Highlight) -> float:
    return found.sample.value


def _one_clip(clip: ClipPair, moments: dict[str, list[_ClipHighlight]]) -> dict[str, Any]:
    """Videos, timelines and highlights of a single pair."""
    wanted = {entry.found.sample.position for group in moments.values() for entry in group}
    runs = (clip.first, clip.second)
    tracks = [collect(run) for run in runs]
    overlays = [
        take(run.overlay, track.frames, wanted, MAX_VIDEO_BYTES // 2)
        for run, track in zip(runs, tracks, strict=True)
    ]
    figures: list[plots.Figure] = []
    players = [
        {"name": side, "overlay": shown} for side, shown in zip(SIDES, overlays, strict=True)
    ]
    sides = [shown.images for shown in overlays]
    return {
        "problems": [
            f"{side}: {problem}"
            for side, run, track, shown in zip(SIDES, runs, tracks, overlays, strict=True)
            for problem in problems_of(run.summary, track, shown)
        ],
        "players": players,
        "timelines": _timelines(clip, tracks, figures),
        "lines": _legend(figures),
        "marks": {"state": STATES, "fails": FAILURES},
        "moments": {
            kind: [_cell(entry, sides[0], sides[1], seekable=True) for entry in group]
            for kind, group in moments.items()
        },
        "data": {
            **clock_data(tracks[0]),
            "players": [
                player_data(track, shown.video)
                for track, shown in zip(tracks, overlays, strict=True)
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
        scored = all(_is_scored(track) for _, _, track, _ in present)
        line = plots.Line("region", "J", "") if scored else plots.Line("score", "score", "")
        timelines.append({"sentence": clip.sentence(key), "figure": len(figures)})
        figures.append(plots.overlaid_figure(present, line, scored))
    return timelines


def _legend(figures: Sequence[plots.Figure]) -> list[dict[str, str]]:
    """The legend of all figures, each line once."""
    lines = {
        trace["name"]: trace["line"]["color"].removeprefix("var(--").removesuffix(")")
        for figure in figures
        for trace in figure["data"]
        if "line" in trace
    }
    return [
        {"name": name, "colour": colour, "dash": "solid"} for name, colour in sorted(lines.items())
    ]


def _is_scored(track: CommandTrack) -> bool:
    return any("region" in bucket.lowest for bucket in track.timeline)


def _many_clips(runs: PairedRuns, moments: dict[str, list[_ClipHighlight]]) -> dict[str, Any]:
    """Highlights of many clips, without videos, which would make the page too large."""
    wanted: dict[str, set[int]] = {}
    for entry in (entry for group in moments.values() for entry in group):
        wanted.setdefault(entry.clip.name, set()).add(entry.found.sample.position)
    clips = {clip.name: clip for clip in runs.clips if clip.name in wanted}
    sides = [
        {name: images_at(run_of(clip).overlay, wanted[name]) for name, clip in clips.items()}
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
    entry: _ClipHighlight, first: Mapping[int, str], second: Mapping[int, str], seekable: bool
) -> dict[str, Any]:
    sample = entry.found.sample
    return {
        "clip": "" if seekable else entry.clip.name,
        "sentence": entry.found.sentence,
        "images": (first.get(sample.position), second.get(sample.position)),
        "position": sample.position,
        "seekable": seekable,
        "index": sample.index,
        "seconds": formatting.seconds(sample.seconds),
        "note": sample.note,
        "failure": sample.failure,
    }
