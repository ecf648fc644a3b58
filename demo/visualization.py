# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Output of the demo: a table, an overlay video and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from referdino.msg import ReferredObject, ReferredObjectArray

from demo import DemoError
from demo.outcome import CommandRun, Outcome, overlap_in, table
from demo.streaming import say
from referdino_core.media.overlay import draw, enlarge
from referdino_core.media.sources import open_source
from referdino_core.media.writers import VideoWriter, contact_sheet, fit, write_image
from referdino_core.messages import run_lengths
from referdino_core.target import Target, TargetState

WIDTH = 640
"""Minimum width of the video, and width of a cell of the contact sheet, in pixels."""
SHEET_COLUMNS = 3
_EMPTY = 24  # grey level, as around the images
_STATES = {
    ReferredObject.SEARCHING: TargetState.SEARCHING,
    ReferredObject.TRACKING: TargetState.TRACKING,
    ReferredObject.OCCLUDED: TargetState.OCCLUDED,
    ReferredObject.LOST: TargetState.LOST,
}


def write_images(outcome: Outcome, video_path: Path, sheet_path: Path) -> None:
    """Draw the results over their images.

    The video shows the live view of the results: each processed image until the next one is
    processed. The sheet has a row of processed images per command.

    Raises:
        ReferDINOError: the source cannot be read again, or an image cannot be written.
    """
    chosen = {number for run in outcome.runs for number in _sheet_numbers(run)}
    cells: dict[int, np.ndarray] = {}
    images = _live_view(outcome)
    first = next(images)
    height, width = first[1].shape[:2]
    with VideoWriter(video_path, outcome.frame_rate, (width, height)) as video:
        for number, image in chain((first,), images):
            video.write(image)
            if number in chosen:
                cells[number] = fit(image, WIDTH, round(WIDTH * height / width))
    write_image(sheet_path, _sheet(outcome, cells))


def targets_of(message: ReferredObjectArray) -> tuple[Target, ...]:
    """The targets of a message, with boxes in whole pixels."""
    return tuple(_target(entry) for entry in message.objects)


def _live_view(outcome: Outcome) -> Iterator[tuple[int, np.ndarray]]:
    """Number and image of every published frame; the last processed image if it was dropped."""
    stamps = {frame.number: frame.stamp for frame in outcome.frames}
    shown: np.ndarray | None = None
    with open_source(outcome.source) as images:
        for frame in images:
            if frame.index not in stamps:
                continue
            result = outcome.results.get(stamps[frame.index])
            if result is not None or shown is None:
                targets = targets_of(result.message) if result else ()
                shown = draw(*enlarge(frame.image, targets, WIDTH))
            yield frame.index, shown
            if frame.index == outcome.frames[-1].number:
                return


def _sheet_numbers(run: CommandRun) -> list[int]:
    """Up to three processed frames of a run, evenly spread from near its start to its end."""
    processed = sorted(run.results)
    places = (np.arange(1, SHEET_COLUMNS + 1) / SHEET_COLUMNS * len(processed)).astype(int) - 1
    return [processed[place] for place in np.unique(places[places >= 0])]


def _sheet(outcome: Outcome, cells: dict[int, np.ndarray]) -> np.ndarray:
    """A row per command, filled with empty cells if it has fewer than three processed frames."""
    images: list[np.ndarray] = []
    captions: list[str] = []
    for run in outcome.runs:
        numbers = _sheet_numbers(run)
        missing = -len(numbers) % SHEET_COLUMNS if numbers else 0
        images += [cells[number] for number in numbers]
        images += [np.full_like(images[0], _EMPTY)] * missing
        captions += [_caption(run, number, outcome) for number in numbers] + [""] * missing
    return contact_sheet(images, SHEET_COLUMNS, captions)


def _caption(run: CommandRun, number: int, outcome: Outcome) -> str:
    seconds = (run.results[number].stamp - outcome.frames[0].stamp) * 1e-9
    entry = run.object_in(number)
    quality = f"score {entry.score:.2f}"
    if outcome.scene:
        overlap = overlap_in(run, number, outcome.scene)
        quality = "target not in view" if overlap is None else f"IoU {overlap:.2f}"
    return f'{seconds:.1f} s, "{run.command.text}", {quality}'


def _target(entry: ReferredObject) -> Target:
    mask, region = entry.mask, entry.box
    box = None
    if region.width and region.height:
        left, top = float(region.x_offset), float(region.y_offset)
        box = (left, top, left + region.width, top + region.height)
    return Target(
        entry.command_id,
        entry.command,
        entry.track_id,
        _STATES[entry.state],
        entry.score,
        entry.frame_score,
        box,
        run_lengths.decode(mask.counts, mask.height, mask.width),
    )


OVERLAY, SHEET = "overlay.mp4", "contact_sheet.png"


def report(outcome: Outcome, folder: Path) -> None:
    """Print the table, and write video and contact sheet to the folder.

    Raises:
        DemoError: a command got no result.
        ReferDINOError: video or contact sheet cannot be written.
    """
    print(f"\n{table(outcome)}\n", flush=True)
    if any(run.results for run in outcome.runs):
        say("drawing the overlay video and the contact sheet")
        write_images(outcome, folder / OVERLAY, folder / SHEET)
        print(f"overlay video  {folder / OVERLAY}\ncontact sheet  {folder / SHEET}", flush=True)
    for run in outcome.runs:
        if not run.results:
            raise DemoError(
                f'The command "{run.command.text}" got no result in {len(run.frames)} frames: '
                f"see the log for errors; if the model is too slow for this stream, play it slower "
                "with --frame-rate."
            )
