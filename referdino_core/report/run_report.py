# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The page of one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from referdino_core.replay.run_folder import REPORT_NAME, RunFolder
from referdino_core.report import formatting as words
from referdino_core.report import plots
from referdino_core.report.durations import SHARES, Durations
from referdino_core.report.formatting import settings_of
from referdino_core.report.metrics_of_runs import (
    MEASURES,
    RIGHT_OBJECT,
    STREAMING,
    Measure,
    Scores,
    measure_named,
)
from referdino_core.report.overlay_pictures import MAX_VIDEO_BYTES, OverlayPictures, take
from referdino_core.report.page import write_page
from referdino_core.report.player import clock_data, player_data
from referdino_core.report.run_tracks import (
    FAILURES,
    FALSE_ALARM,
    STATES,
    TROUBLES,
    RunTracks,
    collect,
)
from referdino_core.report.timeline import CommandMoment, choose
from referdino_core.user_files import legible

AS_LIVE = "as live"  # kind of clock in a summary
MAX_BEST_MOMENTS = 4  # the worst tell more
MIN_DROP = 0.05  # of the score, below a command's highest one

_STREAMED = ("J&F", "J", "F", "frames lost", "false alarms")  # measures told beside the others


def write_report(path: Path) -> Path:
    """Write `report.html` into a run folder, in place of an earlier one.

    Returns:
        The page.

    Raises:
        SourceError: this is no complete run, or its files are damaged.
        ReportUnavailable: jinja2 or plotly is not installed.
        OutputError: the page cannot be written.
    """
    run = RunFolder(path)
    tracks = collect(run)
    best, worst = best_and_worst(tracks)
    wanted = {found.moment.position for found in (*best, *worst)}
    pictures = take(run.overlay, tracks.frames, wanted, MAX_VIDEO_BYTES)
    return write_page(
        run.path / REPORT_NAME, "run.html", _content(run, tracks, pictures, best, worst)
    )


def best_and_worst(tracks: RunTracks) -> tuple[list[CommandMoment], list[CommandMoment]]:
    """The moments that are worth a picture: by J where it is known, otherwise by score."""
    judged = any("quality" in stretch.lowest for stretch in _stretches(tracks))
    series = "quality" if judged else "score"
    lows, highs = [], []
    for track in tracks.commands.values():
        stretches = [stretch for stretch in track.timeline if series in stretch.lowest]
        peak = max((stretch.highest[series].value for stretch in stretches), default=0.0)
        for stretch in stretches:
            low, high = stretch.lowest[series], stretch.highest[series]
            # Without ground truth a low score tells something only where there are higher ones.
            if low.failure if judged else low.value <= peak - MIN_DROP:
                lows.append(CommandMoment(track.key, track.sentence, low))
            if not high.failure:
                highs.append(CommandMoment(track.key, track.sentence, high))
    worst = choose(lows, lambda found: found.moment.value)
    shown = {found.moment.position for found in worst}
    highs = [found for found in highs if found.moment.position not in shown]
    return choose(highs, lambda found: -found.moment.value, MAX_BEST_MOMENTS), worst


def moment_cells(
    moments: Sequence[CommandMoment], pictures: OverlayPictures, judged: bool
) -> list[dict[str, Any]]:
    """What the page shows of each moment."""
    return [
        {
            "picture": pictures.pictures.get(found.moment.position),
            "position": found.moment.position,
            "index": found.moment.index,
            "seconds": words.seconds(found.moment.seconds),
            "sentence": found.sentence,
            "value": _value_in_words(found, judged),
            "failure": found.moment.failure,
        }
        for found in moments
    ]


def _value_in_words(found: CommandMoment, judged: bool) -> str:
    if found.moment.failure == FALSE_ALARM:
        return "target absent"
    return f"{'J' if judged else 'score'} {words.ratio(found.moment.value)}"


def _content(
    run: RunFolder,
    tracks: RunTracks,
    pictures: OverlayPictures,
    best: Sequence[CommandMoment],
    worst: Sequence[CommandMoment],
) -> dict[str, Any]:
    summary = run.summary
    figures: list[plots.Figure] = []
    judged = summary.get("truth") is not None
    content = {
        "title": legible(Path(summary["source"]["path"]).name or run.path.name),
        "summary": summary,
        "problems": problems_of(summary, tracks, pictures),
        "tiles": tiles_of(run),
        "players": [{"name": "", "pictures": pictures}],
        "timelines": _timelines(run, tracks, figures),
        "lines": plots.lines_of(tracks.commands.values()),
        "marks": {"state": STATES, "fails": FAILURES if judged else (), "frame": TROUBLES},
        "thinned": tracks.timeline.frames_per_stretch,
        "commands": _command_rows(run, tracks),
        "measures": _measures(run),
        "streaming": _streaming(run),
        "best": moment_cells(best, pictures, judged),
        "worst": moment_cells(worst, pictures, judged),
        "failures": _failures(tracks, figures) if judged and tracks.commands else None,
        "latency": _latency(summary, tracks, figures),
        "settings": settings_of(summary),
        "words": words,
    }
    content["data"] = {
        **clock_data(tracks),
        "players": [player_data(tracks, pictures.video)],
        "figures": figures,
    }
    return content


def problems_of(
    summary: Mapping[str, Any], tracks: RunTracks, pictures: OverlayPictures | None
) -> list[str]:
    """What a reader of the page must know before anything else, a line each."""
    problems = [str(problem) for problem in summary.get("problems", ())]
    if pictures is not None and pictures.frames != tracks.frames:
        problems.append(
            f"The overlay video has {pictures.frames} pictures and the run {tracks.frames} "
            "frames: pictures and timelines may not belong together."
        )
    return problems


def tiles_of(run: RunFolder) -> list[dict[str, str]]:
    """The headline figures."""
    frames = run.summary["frames"]
    tiles = [_tile(measure, run.overall_scores or {}) for measure in _measures(run)]
    answered = f"of {words.count(frames['read'])} read"
    tiles.append(
        {"name": "answered", "value": words.count(frames["answered"]), "explanation": answered}
    )
    tiles.append(
        {
            "name": "dropped",
            "value": words.count(frames["dropped"]),
            "explanation": "frames that came while the model was busy",
        }
    )
    if frames.get("late"):
        tiles.append(
            {
                "name": "late",
                "value": words.count(frames["late"]),
                "explanation": "frames stamped before their predecessor",
            }
        )
    if frames["failed"]:
        tiles.append(
            {
                "name": "failed",
                "value": words.count(frames["failed"]),
                "explanation": "frames that could not be answered",
            }
        )
    return tiles


def _measures(run: RunFolder) -> list[Measure]:
    """The measures that the run has, or that are unknown of it; none without ground truth."""
    overall = run.overall_scores
    if overall is None:
        return []
    return [one for one in MEASURES if not (one.optional and one.of(overall) is None)]


def _tile(measure: Measure, overall: Scores) -> dict[str, str]:
    counts = measure.counted(overall)
    reached = "" if counts is None else f"{counts[0]} of {counts[1]} commands; "
    return {
        "name": measure.name,
        "value": measure.format(measure.of(overall)),
        "explanation": f"{reached}{measure.explanation}",
    }


def _streaming(run: RunFolder) -> dict[str, Any] | None:
    """Rows of the table that puts streaming accuracy beside the rest; None where there is none."""
    overall = run.overall_scores
    if overall is None or not overall["streaming"]:
        return None
    own = [(str(one["sentence"]), one) for one in run.scores_by_key.values()]
    measures = [measure_named(name) for name in _STREAMED]
    return {
        "explanation": STREAMING.explanation,
        "measures": [measure.name for measure in measures],
        "rows": [
            {
                "name": name,
                "cells": [
                    [_cell(measure, scores), _cell(measure, scores["streaming"])]
                    for measure in measures
                ],
            }
            for name, scores in [*own, ("all", overall)]
            if scores["streaming"]
        ],
    }


def _cell(measure: Measure, scores: Scores | None) -> tuple[float | None, str]:
    """A value to sort by, and in words."""
    if scores is None:
        return None, words.NOTHING
    value = measure.of(scores)
    if measure.name == RIGHT_OBJECT:
        return value, words.yes_or_no(scores["right"])
    return value, measure.text(scores)


def _timelines(
    run: RunFolder, tracks: RunTracks, figures: list[plots.Figure]
) -> list[dict[str, Any]]:
    given = dict(zip(run.command_keys, run.summary["commands"], strict=True))
    end = run.summary["source"]["seconds"]
    judged = run.summary.get("truth") is not None
    timelines = []
    for track in tracks.commands.values():
        command = given[track.key]
        timelines.append(
            {
                "sentence": track.sentence,
                "figure": len(figures),
                "given": words.seconds(command["at"]),
                "until": words.seconds(command["until"]),
                "bounded": (command["until"] or end) < end,
            }
        )
        figures.append(plots.command_figure(track, tracks, judged))
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
                "cells": [_cell(measure, own) for measure in _measures(run)],
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
    return {"figures": shown, "rows": rows, "as_live": as_live}


def _percentiles(durations: Durations) -> list[float | None]:
    return [*(durations.percentile(share) for share in SHARES), durations.worst]


def _stretches(tracks: RunTracks) -> Iterator[Any]:
    for track in tracks.commands.values():
        yield from track.timeline
