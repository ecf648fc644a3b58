# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Plotly figures, as the plain objects that plotly.js reads.

Colours are CSS variables of the page, such as "var(--score)", which the page resolves for light,
dark and print.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from referdino_core.report.run_tracks import FAILURES, STATES, TROUBLES, CommandTrack, RunTracks
from referdino_core.report.timeline import Bucket, Sample, Timeline

Figure = dict[str, Any]

MARKS = (*STATES, *FAILURES, *TROUBLES)  # by their place in a strip
LEFT, RIGHT = 52, 12  # margins in pixels; the page finds the time under the pointer by them

_DIGITS = 4
_MAX_BARS = 120
_MANY_COMMANDS = 3
_HEIGHT, _LOW_HEIGHT = 185, 128  # of a command's timeline in pixels, the lower one for many
_HEIGHT_OF_TWO, _LOW_HEIGHT_OF_TWO = 205, 160  # likewise, with two runs in one plot
_FEWEST_FOR_A_LINE = 10  # values; of fewer, each is marked by a point
_ROW_STARTS = {"state": 0, "failure": len(STATES), "trouble": len(STATES) + len(FAILURES)}


@dataclass(frozen=True)
class Line:
    """Style of a plotted series."""

    series: str
    name: str
    colour: str
    dash: str = "solid"


SCORE_LINES = (
    Line("frame_score", "frame score", "frame-score", "dot"),
    Line("score", "score", "score"),
    Line("region", "J", "region"),
)


def colour_of(mark: str) -> str:
    """The name of a mark's colour in the style sheet."""
    return mark.replace(" ", "-")


def lines_of(tracks: Iterable[CommandTrack]) -> list[Line]:
    """The lines for which at least one command has values."""
    found = {series for track in tracks for bucket in track.timeline for series in bucket.lowest}
    return [line for line in SCORE_LINES if line.series in found]


def command_figure(track: CommandTrack, run: RunTracks, scored: bool) -> Figure:
    """Scores and J of one command over time, above strips of its state and failures.

    The figure is lower if there are several commands.
    """
    marks = _marks(track, run)
    rows = {"state": marks["state"]}
    if scored:
        rows["fails"] = marks["failure"]
    rows["frame"] = marks["trouble"]
    data = [_line(track.timeline, line) for line in lines_of([track])]
    data.append(_strip(list(run.timeline), rows))
    height = _HEIGHT if len(run.commands) < _MANY_COMMANDS else _LOW_HEIGHT
    layout = _timeline_layout(_span(run.timeline), height, list(rows))
    return {"data": data, "layout": layout}


def overlaid_figure(
    tracks: Sequence[tuple[str, str, CommandTrack, RunTracks]], line: Line, scored: bool
) -> Figure:
    """One series of several runs in one plot, above their strips.

    Args:
        tracks: name of the run, its colour, its command, the run itself.
    """
    data = [
        _line(track.timeline, Line(line.series, f"{line.name} {name}", colour))
        for name, colour, track, _ in tracks
    ]
    rows: dict[str, list[int | None]] = {}
    for row in ("state", "failure") if scored else ("state",):
        for name, _, track, own in tracks:
            label = "fails" if row == "failure" else row
            rows[f"{label} {name}"] = _marks(track, own)[row]
    run = tracks[0][3]
    data.append(_strip(list(run.timeline), rows))
    height = _HEIGHT_OF_TWO if len(run.commands) < _MANY_COMMANDS else _LOW_HEIGHT_OF_TWO
    layout = _timeline_layout(_span(run.timeline), height, list(rows))
    return {"data": data, "layout": layout}


def failures_figure(tracks: Iterable[CommandTrack]) -> Figure:
    """Frames by kind of failure, a bar per command."""
    tracks = list(tracks)
    names = [_short(track.sentence) for track in tracks]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": kind,
            "y": list(range(len(tracks))),
            "x": [track.failures[kind] for track in tracks],
            "marker": {"color": f"var(--{colour_of(kind)})"},
            "hovertemplate": f"%{{x}} frames: {kind}<extra></extra>",
        }
        for kind in reversed(FAILURES)
    ]
    layout = _plain_layout("", 90 + 34 * len(tracks))
    layout["barmode"] = "stack"
    layout["margin"]["l"] = 190
    layout["xaxis"] = _axis("frames")
    layout["yaxis"] = _axis("") | {
        "tickvals": list(range(len(tracks))),
        "ticktext": names,
        "autorange": "reversed",
    }
    return {"data": data, "layout": layout}


def delay_figure(run: RunTracks) -> Figure:
    """The delay of the as-live clock over time."""
    layout = _plain_layout("delay, ms", 200)
    layout["xaxis"] = _time_axis(_span(run.timeline))
    layout["yaxis"]["rangemode"] = "tozero"
    layout["showlegend"] = False
    # Where every other frame is dropped, a line with gaps would show nothing.
    line = _line(run.timeline, Line("delay", "delay", "score"), scale=1000.0)
    return {"data": [line | {"connectgaps": True}], "layout": layout}


def drops_figure(run: RunTracks) -> Figure:
    """The fraction of dropped frames over time."""
    buckets = list(run.timeline)
    per_bar = -(-len(buckets) // _MAX_BARS)
    bars = [buckets[start : start + per_bar] for start in range(0, len(buckets), per_bar or 1)]
    fractions = [
        sum(bucket.counts.get("dropped", 0) for bucket in bar)
        / sum(bucket.frames for bucket in bar)
        for bar in bars
    ]
    layout = _plain_layout("frames dropped", 200)
    layout["xaxis"] = _time_axis(_span(run.timeline))
    layout["yaxis"] |= {"range": [0, 1.02], "tickformat": ".0%"}
    layout |= {"bargap": 0.0, "showlegend": False}
    bar_trace = {
        "type": "bar",
        "x": [_rounded((bar[0].start + bar[-1].end) / 2) for bar in bars],
        "y": [_rounded(fraction) for fraction in fractions],
        "marker": {"color": "var(--dropped)"},
        "hovertemplate": "%{y:.0%} at %{x:.1f} s<extra></extra>",
    }
    return {"data": [bar_trace], "layout": layout}


def timing_figure(timing: Timeline, parts: Iterable[str]) -> Figure:
    """Measured seconds of each part of the processing, frame by frame."""
    colours = ("score", "region", "frame-score", "dropped")
    layout = _plain_layout("measured, ms", 220)
    layout["xaxis"] = _axis("frame")
    layout["yaxis"] |= {"rangemode": "tozero"}
    return {
        "data": [
            _line(timing, Line(part, part, colours[place % len(colours)]), scale=1000.0)
            for place, part in enumerate(parts)
        ],
        "layout": layout,
    }


def _line(timeline: Timeline, line: Line, scale: float = 1.0) -> Figure:
    times: list[float] = []
    values: list[float | None] = []
    for bucket in timeline:
        for sample in _extremes(bucket, line.series):
            times.append(_rounded(sample.seconds))
            values.append(_rounded(sample.value * scale))
        if line.series not in bucket.lowest and values and values[-1] is not None:
            times.append(_rounded(bucket.start))
            values.append(None)
    return {
        "type": "scatter",
        "mode": "lines" if len(values) >= _FEWEST_FOR_A_LINE else "lines+markers",
        "marker": {"size": 9},
        "cliponaxis": len(values) >= _FEWEST_FOR_A_LINE,
        "name": line.name,
        "x": times,
        "y": values,
        "connectgaps": False,
        "line": {"color": f"var(--{line.colour})", "width": 1.6, "dash": line.dash, "shape": "hv"},
        "hovertemplate": f"{line.name} %{{y:.3~g}}<extra></extra>",
    }


def _extremes(bucket: Bucket, series: str) -> list[Sample]:
    if series not in bucket.lowest:
        return []
    moments = {bucket.lowest[series], bucket.highest[series]}
    return sorted(moments, key=lambda sample: sample.position)


def _strip(buckets: Sequence[Bucket], rows: Mapping[str, list[int | None]]) -> Figure:
    """A heat map of marks, one row each, from the top."""
    return {
        "type": "heatmap",
        "x": _edges(buckets),
        "y": list(range(len(rows))),
        "z": list(rows.values())[::-1],
        "yaxis": "y2",
        "zmin": -0.5,
        "zmax": len(MARKS) - 0.5,
        "colorscale": _colour_scale(),
        "showscale": False,
        "hoverinfo": "skip",
        "ygap": 3,
    }


def _marks(track: CommandTrack, run: RunTracks) -> dict[str, list[int | None]]:
    """State, failure and trouble of every bucket of a run, as indices into MARKS."""
    commands = {bucket.first: bucket for bucket in _aligned(track, run)}
    rows: dict[str, list[int | None]] = {row: [] for row in _ROW_STARTS}
    for bucket in run.timeline:
        own = commands.get(bucket.first)
        for row, codes in rows.items():
            source = bucket if row == "trouble" else own
            mark = None if source is None else source.marks.get(row)
            codes.append(None if mark is None else _ROW_STARTS[row] + mark)
    return rows


def _aligned(track: CommandTrack, run: RunTracks) -> list[Bucket]:
    """A command's buckets merged to the length of the run's, which may be longer."""
    length = run.timeline.frames_per_bucket
    merged: dict[int, Bucket] = {}
    for bucket in track.timeline:
        place = bucket.first // length * length
        if place in merged:
            merged[place].absorb(bucket)
        else:
            merged[place] = Bucket(
                place,
                bucket.last,
                bucket.start,
                bucket.end,
                bucket.index,
                marks=dict(bucket.marks),
            )
    return list(merged.values())


def _edges(buckets: Sequence[Bucket]) -> list[float]:
    if not buckets:
        return []
    starts = [_rounded(bucket.start) for bucket in buckets]
    last = buckets[-1]
    step = (last.end - buckets[0].start) / max(last.last - buckets[0].first, 1)
    return [*starts, _rounded(last.end + (step or 1.0))]


def _colour_scale() -> list[list[Any]]:
    scale: list[list[Any]] = []
    for place, mark in enumerate(MARKS):
        colour = f"var(--{colour_of(mark)})"
        scale += [[place / len(MARKS), colour], [(place + 1) / len(MARKS), colour]]
    return scale


def _timeline_layout(end: float, height: int, rows: Sequence[str]) -> Figure:
    layout = _plain_layout("", height)
    layout["xaxis"] = _time_axis(end) | {"anchor": "y2"}
    layout["showlegend"] = False  # all timelines of a page share one
    layout["margin"] |= {"t": 8, "b": 24}
    layout["yaxis"] |= {"range": [-0.03, 1.03], "domain": [0.4, 1], "dtick": 0.5}
    layout["yaxis2"] = {
        "domain": [0, 0.33],
        "range": [-0.5, len(rows) - 0.5],
        "tickvals": list(range(len(rows))),
        "ticktext": list(reversed(rows)),
        "tickfont": {"size": 10},
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
    }
    return layout


def _plain_layout(title: str, height: int) -> Figure:
    return {
        "height": height,
        "margin": {"l": LEFT, "r": RIGHT, "t": 26, "b": 36},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--text)", "size": 12},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "x",
        "dragmode": False,
        "xaxis": _axis(""),
        "yaxis": _axis(title),
    }


def _axis(title: str) -> Figure:
    return {
        "title": {"text": title, "standoff": 6},
        "fixedrange": True,
        "gridcolor": "var(--grid)",
        "zeroline": False,
    }


def _time_axis(end: float) -> Figure:
    return _axis("") | {"range": [0, _rounded(end)], "ticksuffix": " s"}


def _span(timeline: Timeline) -> float:
    edges = _edges(list(timeline))
    return edges[-1] if edges else 1.0


def _short(sentence: str, longest: int = 26) -> str:
    """The sentence, shortened and escaped: Plotly interprets HTML in labels."""
    text = sentence if len(sentence) <= longest else sentence[: longest - 1].rstrip() + "…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _rounded(value: float) -> float:
    return round(value, _DIGITS)
