# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The report page of one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from referdino_core.replay.run_folder import REPORT_NAME, RunFolder
from referdino_core.report import formatting, plots
from referdino_core.report.engines import memory_rows
from referdino_core.report.formatting import QUANTILES, Durations, settings_of
from referdino_core.report.metrics import (
    METRICS,
    RIGHT_OBJECT,
    STREAMING,
    Metric,
    Scores,
    metric_named,
)
from referdino_core.report.overlay_images import MAX_VIDEO_BYTES, OverlayImages, take
from referdino_core.report.page import clock_data, player_data, write_page
from referdino_core.report.run_tracks import (
    FAILURES,
    FALSE_ALARM,
    STATES,
    TROUBLES,
    RunTracks,
    collect,
)
from referdino_core.report.timeline import Highlight, choose_highlights
from referdino_core.user_files import legible

AS_LIVE = "as live"  # kind of clock in a summary
MAX_BEST_HIGHLIGHTS = 4  # the worst tell more
MIN_DROP = 0.05  # of the score, below a command's highest score

_STREAMED = ("J&F", "J", "F", "frames lost", "false alarms")  # metrics of the streaming table


def write_report(path: Path) -> Path:
    """Write `report.html` into a run folder, replacing an earlier one.

    Returns:
        The page.

    Raises:
        SourceError: this is not a complete run, or its files are damaged.
        ReportUnavailable: jinja2 or plotly is not installed.
        OutputError: the page cannot be written.
    """
    run = RunFolder(path)
    tracks = collect(run)
    best, worst = best_and_worst(tracks)
    wanted = {found.sample.position for found in (*best, *worst)}
    overlay = take(run.overlay, tracks.frames, wanted, MAX_VIDEO_BYTES)
    return write_page(
        run.path / REPORT_NAME, "run.html", _content(run, tracks, overlay, best, worst)
    )


def best_and_worst(tracks: RunTracks) -> tuple[list[Highlight], list[Highlight]]:
    """The highlights of a run: by J with ground truth, otherwise by score."""
    scored = any("quality" in bucket.lowest for bucket in _buckets(tracks))
    series = "quality" if scored else "score"
    lows, highs = [], []
    for track in tracks.commands.values():
        buckets = [bucket for bucket in track.timeline if series in bucket.lowest]
        peak = max((bucket.highest[series].value for bucket in buckets), default=0.0)
        for bucket in buckets:
            low, high = bucket.lowest[series], bucket.highest[series]
            # Without ground truth a low score means something only relative to higher ones.
            if low.failure if scored else low.value <= peak - MIN_DROP:
                lows.append(Highlight(track.key, track.sentence, low))
            if not high.failure:
                highs.append(Highlight(track.key, track.sentence, high))
    worst = choose_highlights(lows, lambda found: found.sample.value)
    shown = {found.sample.position for found in worst}
    highs = [found for found in highs if found.sample.position not in shown]
    return choose_highlights(highs, lambda found: -found.sample.value, MAX_BEST_HIGHLIGHTS), worst


def highlight_cells(
    moments: Sequence[Highlight], overlay: OverlayImages, scored: bool
) -> list[dict[str, Any]]:
    """The content of each highlight on the page."""
    return [
        {
            "image": overlay.images.get(found.sample.position),
            "position": found.sample.position,
            "index": found.sample.index,
            "seconds": formatting.seconds(found.sample.seconds),
            "sentence": found.sentence,
            "value": _formatted_value(found, scored),
            "failure": found.sample.failure,
        }
        for found in moments
    ]


def _formatted_value(found: Highlight, scored: bool) -> str:
    if found.sample.failure == FALSE_ALARM:
        return "target absent"
    return f"{'J' if scored else 'score'} {formatting.ratio(found.sample.value)}"


def _content(
    run: RunFolder,
    tracks: RunTracks,
    overlay: OverlayImages,
    best: Sequence[Highlight],
    worst: Sequence[Highlight],
) -> dict[str, Any]:
    summary = run.summary
    figures: list[plots.Figure] = []
    scored = summary.get("truth") is not None
    content = {
        "title": legible(Path(summary["source"]["path"]).name or run.path.name),
        "summary": summary,
        "problems": problems_of(summary, tracks, overlay),
        "tiles": tiles_of(run),
        "players": [{"name": "", "overlay": overlay}],
        "timelines": _timelines(run, tracks, figures),
        "lines": plots.lines_of(tracks.commands.values()),
        "marks": {"state": STATES, "fails": FAILURES if scored else (), "frame": TROUBLES},
        "thinned": tracks.timeline.frames_per_bucket,
        "commands": _command_rows(run, tracks),
        "metrics": _metrics(run),
        "streaming": _streaming(run),
        "best": highlight_cells(best, overlay, scored),
        "worst": highlight_cells(worst, overlay, scored),
        "failures": _failures(tracks, figures) if scored and tracks.commands else None,
        "latency": _latency(summary, tracks, figures),
        "settings": settings_of(summary),
        "formatting": formatting,
    }
    content["data"] = {
        **clock_data(tracks),
        "players": [player_data(tracks, overlay.video)],
        "figures": figures,
    }
    return content


def problems_of(
    summary: Mapping[str, Any], tracks: RunTracks, overlay: OverlayImages | None
) -> list[str]:
    """Problems of the run and its overlay, a line each."""
    problems = [str(problem) for problem in summary.get("problems", ())]
    if overlay is not None and overlay.frames != tracks.frames:
        problems.append(
            f"The overlay video has {overlay.frames} images and the run {tracks.frames} "
            "frames: images and timelines may not match."
        )
    return problems


def tiles_of(run: RunFolder) -> list[dict[str, str]]:
    """The headline figures."""
    frames = run.summary["frames"]
    tiles = [_tile(metric, run.overall_scores or {}) for metric in _metrics(run)]
    read = f"of {formatting.count(frames['read'])} read"
    tiles.append(
        {"name": "processed", "value": formatting.count(frames["answered"]), "explanation": read}
    )
    tiles.append(
        {
            "name": "dropped",
            "value": formatting.count(frames["dropped"]),
            "explanation": "frames that arrived while the model was busy",
        }
    )
    if frames.get("late"):
        tiles.append(
            {
                "name": "late",
                "value": formatting.count(frames["late"]),
                "explanation": "frames stamped before their predecessor",
            }
        )
    if frames["failed"]:
        tiles.append(
            {
                "name": "failed",
                "value": formatting.count(frames["failed"]),
                "explanation": "frames that could not be processed",
            }
        )
    return tiles


def _metrics(run: RunFolder) -> list[Metric]:
    """The metrics to show, unknown ones included; none without ground truth."""
    overall = run.overall_scores
    if overall is None:
        return []
    return [one for one in METRICS if not (one.optional and one.of(overall) is None)]


def _tile(metric: Metric, overall: Scores) -> dict[str, str]:
    counts = metric.counted(overall)
    reached = "" if counts is None else f"{counts[0]} of {counts[1]} commands; "
    return {
        "name": metric.name,
        "value": metric.format(metric.of(overall)),
        "explanation": f"{reached}{metric.explanation}",
    }


def _streaming(run: RunFolder) -> dict[str, Any] | None:
    """Rows of the table of streaming accuracy; None without one."""
    overall = run.overall_scores
    if overall is None or not overall["streaming"]:
        return None
    own = [(str(one["sentence"]), one) for one in run.scores_by_key.values()]
    metrics = [metric_named(name) for name in _STREAMED]
    return {
        "explanation": STREAMING.explanation,
        "metrics": [metric.name for metric in metrics],
        "rows": [
            {
                "name": name,
                "cells": [
                    [_cell(metric, scores), _cell(metric, scores["streaming"])]
                    for metric in metrics
                ],
            }
            for name, scores in [*own, ("all", overall)]
            if scores["streaming"]
        ],
    }


def _cell(metric: Metric, scores: Scores | None) -> tuple[float | None, str]:
    """A value to sort by, and its text."""
    if scores is None:
        return None, formatting.NOTHING
    value = metric.of(scores)
    if metric.name == RIGHT_OBJECT:
        return value, formatting.yes_or_no(scores["right"])
    return value, metric.text(scores)


def _timelines(
    run: RunFolder, tracks: RunTracks, figures: list[plots.Figure]
) -> list[dict[str, Any]]:
    given = dict(zip(run.command_keys, run.summary["commands"], strict=True))
    end = run.summary["source"]["seconds"]
    scored = run.summary.get("truth") is not None
    timelines = []
    for track in tracks.commands.values():
        command = given[track.key]
        timelines.append(
            {
                "sentence": track.sentence,
                "figure": len(figures),
                "given": formatting.seconds(command["at"]),
                "until": formatting.seconds(command["until"]),
                "bounded": (command["until"] or end) < end,
            }
        )
        figures.append(plots.command_figure(track, tracks, scored))
    return timelines


def _command_rows(run: RunFolder, tracks: RunTracks) -> list[dict[str, Any]]:
    scores = run.scores_by_key
    rows = []
    for key, command in zip(run.command_keys, run.summary["commands"], strict=True):
        track = tracks.commands.get(key)
        states = track.states if track else {}
        frames = sum(states.values())
        own = scores.get(key)
        rows.append(
            {
                "sentence": command["text"],
                "at": command["at"],
                "frames": frames,
                "tracking": states.get("tracking", 0) / frames if frames else None,
                "cells": [_cell(metric, own) for metric in _metrics(run)],
            }
        )
    return rows


def _failures(tracks: RunTracks, figures: list[plots.Figure]) -> dict[str, Any]:
    commands = list(tracks.commands.values())
    figures.append(plots.failures_figure(commands))
    return {
        "figure": len(figures) - 1,
        "kinds": FAILURES,
        "rows": [
            (track.sentence, [track.failures[kind] for kind in FAILURES]) for track in commands
        ],
        "any": any(track.failures for track in commands),
    }


def _latency(
    summary: Mapping[str, Any], tracks: RunTracks, figures: list[plots.Figure]
) -> dict[str, Any]:
    shown: list[int] = []
    as_live = summary["clock"].get("kind") == AS_LIVE
    rows: list[tuple[str, list[float | None], int]] = []
    if as_live:
        shown.append(len(figures))
        figures.append(plots.delay_figure(tracks))
        rows.append(("delay, as live", _percentiles(tracks.delays), tracks.delays.count))
    if as_live or summary["frames"]["dropped"]:
        shown.append(len(figures))
        figures.append(plots.drops_figure(tracks))
    if tracks.measured:
        shown.append(len(figures))
        figures.append(plots.timing_figure(tracks.timing, tracks.measured))
        rows += [
            (f"measured: {part}", _percentiles(durations), durations.count)
            for part, durations in tracks.measured.items()
        ]
    memory = memory_rows(tracks.memory)
    return {"figures": shown, "rows": rows, "as_live": as_live, "memory": memory}


def _percentiles(durations: Durations) -> list[float | None]:
    return [*(durations.percentile(fraction) for fraction in QUANTILES), durations.worst]


def _buckets(tracks: RunTracks) -> Iterator[Any]:
    for track in tracks.commands.values():
        yield from track.timeline
