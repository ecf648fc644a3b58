# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Self-contained HTML pages: templates, and the data that their script reads."""

from __future__ import annotations

import base64
import gzip
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from referdino_core.errors import ReferDINOError
from referdino_core.files import AtomicFile, OutputError
from referdino_core.report.overlay_images import VIDEO_TYPE, PageVideo
from referdino_core.report.plots import LEFT, MARKS, RIGHT, colour_of
from referdino_core.report.run_tracks import FAILURES, STATES, TROUBLES, CommandTrack, RunTracks
from referdino_core.report.timeline import Bucket

_TEMPLATES = Path(__file__).with_name("templates")
_PLOTLY = Path("package_data", "plotly.min.js")


class ReportUnavailable(ReferDINOError):
    """A library required for reports is not installed."""


def write_page(path: Path, template: str, content: Mapping[str, Any]) -> Path:
    """Render a template and write it atomically.

    Raises:
        ReportUnavailable: jinja2 or plotly is not installed.
        OutputError: the file cannot be written.
    """
    plotly = _plotly()
    environment = _environment()
    stream = environment.get_template(template).stream(
        content, plotly=plotly, margins={"left": LEFT, "right": RIGHT}
    )
    file = AtomicFile(path)
    try:
        # Names that are not UTF-8 are escaped, as \udc80.
        with file.temporary_path.open("w", encoding="utf-8", errors="backslashreplace") as page:
            page.writelines(stream)
    except OSError as error:
        file.discard()
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    except BaseException:
        file.discard()
        raise
    file.commit()
    return path


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise ReportUnavailable("A report needs jinja2: pip install jinja2.") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "ensure_ascii": False,
        "separators": (",", ":"),
    }
    environment.filters["colour"] = colour_of
    environment.filters["sortable"] = _sortable
    return environment


def _sortable(value: float | None) -> str:
    """A number as the page's script reads it, empty for None."""
    if value is None:
        return ""
    return str(float(value)).replace("inf", "Infinity")


def _plotly() -> str:
    """plotly.js, compressed, as base64: 2 MB in place of 4.8 MB; the browser unpacks it."""
    found = importlib.util.find_spec("plotly")  # the package itself is not imported
    folders = [] if found is None else list(found.submodule_search_locations or ())
    for folder in folders:
        script = Path(folder) / _PLOTLY
        if script.is_file():
            # No time in the file: the same run makes the same page.
            return base64.b64encode(gzip.compress(script.read_bytes(), mtime=0)).decode("ascii")
    raise ReportUnavailable("A report needs plotly: pip install plotly.")


_DIGITS = 4


def clock_data(tracks: RunTracks) -> dict[str, Any]:
    """Positions and times of frames, between which the page interpolates.

    `positions` count frames of the run, `indices` those of its source.
    """
    buckets = list(tracks.timeline)
    last = buckets[-1:]
    return {
        "frames": tracks.frames,
        "positions": [bucket.first for bucket in buckets] + [s.last for s in last],
        "times": [round(s.start, _DIGITS) for s in buckets] + [round(s.end, _DIGITS) for s in last],
        "indices": [bucket.index for bucket in buckets]
        + [s.index + s.last - s.first for s in last],
        "marks": MARKS,
    }


def player_data(tracks: RunTracks, video: PageVideo | None) -> dict[str, Any]:
    """Playback of a video, and the readings to show beside it."""
    return {
        "video": None
        if video is None
        else {"rate": video.rate, "step": video.step, "type": VIDEO_TYPE},
        "troubles": _changes(
            [(bucket.first, _mark(bucket, "trouble", TROUBLES)) for bucket in tracks.timeline]
        ),
        "commands": [_readings(track) for track in tracks.commands.values()],
        "exact": tracks.timeline.frames_per_bucket == 1,
    }


def _readings(track: CommandTrack) -> dict[str, Any]:
    buckets = list(track.timeline)
    return {
        "sentence": track.sentence,
        "starts": [bucket.first for bucket in buckets],
        "last": buckets[-1].last if buckets else -1,
        "state": [_mark(bucket, "state", STATES) for bucket in buckets],
        "failure": [_mark(bucket, "failure", FAILURES) for bucket in buckets],
        "score": [_lowest(bucket, "score") for bucket in buckets],
        "region": [_lowest(bucket, "region") for bucket in buckets],
    }


def _mark(bucket: Bucket, row: str, names: tuple[str, ...]) -> int | None:
    mark = bucket.marks.get(row)
    return None if mark is None else MARKS.index(names[mark])


def _lowest(bucket: Bucket, series: str) -> float | None:
    sample = bucket.lowest.get(series)
    return None if sample is None else round(sample.value, _DIGITS)


def _changes(marks: list[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    """Only the positions where the mark changes."""
    changes: list[tuple[int, int | None]] = []
    for position, mark in marks:
        if not changes or changes[-1][1] != mark:
            changes.append((position, mark))
    return changes
