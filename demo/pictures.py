# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the demo leaves: lines to read, an overlay video and a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from referdino.msg import ReferredObject, ReferredObjectArray

from demo.errors import DemoError
from demo.outcome import CommandRun, Outcome
from demo.scoring import overlap_in, table
from demo.streaming import say
from referdino_core.media.overlay import draw, enlarge
from referdino_core.media.sources import open_source
from referdino_core.media.writers import VideoWriter, contact_sheet, fit, write_image
from referdino_core.messages import run_lengths
from referdino_core.target import Target, TargetState

WIDTH = 640
"""Pixels that the video is wide at least, and a cell of the sheet exactly."""
SHEET_COLUMNS = 3
_EMPTY = 24  # grey level, as around the pictures
_STATES = {
    ReferredObject.SEARCHING: TargetState.SEARCHING,
    ReferredObject.TRACKING: TargetState.TRACKING,
    ReferredObject.OCCLUDED: TargetState.OCCLUDED,
    ReferredObject.LOST: TargetState.LOST,
}


def write_pictures(outcome: Outcome, video_path: Path, sheet_path: Path) -> None:
    """Draw the answers over their images.

    The video shows what somebody who watches the results sees: each answered image until the next
    one is answered. The sheet has a row of answered images per command.

    Raises:
        ReferDINOError: the source cannot be read again, or a picture cannot be written.
    """
    chosen = {number for run in outcome.runs for number in _sheet_numbers(run)}
    cells: dict[int, np.ndarray] = {}
    pictures = _live_view(outcome)
    first = next(pictures)
    height, width = first[1].shape[:2]
    with VideoWriter(video_path, outcome.frame_rate, (width, height)) as video:
        for number, picture in chain((first,), pictures):
            video.write(picture)
            if number in chosen:
                cells[number] = fit(picture, WIDTH, round(WIDTH * height / width))
    write_image(sheet_path, _sheet(outcome, cells))


def targets_of(message: ReferredObjectArray) -> tuple[Target, ...]:
    """The targets that a message was made of, with boxes in whole pixels."""
    return tuple(_target(entry) for entry in message.objects)


def _live_view(outcome: Outcome) -> Iterator[tuple[int, np.ndarray]]:
    """Number and picture of every published frame; the answered image before, if unanswered."""
    stamps = {frame.number: frame.stamp for frame in outcome.frames}
    shown: np.ndarray | None = None
    with open_source(outcome.source) as images:
        for frame in images:
            if frame.index not in stamps:
                continue
            answer = outcome.answers.get(stamps[frame.index])
            if answer is not None or shown is None:
                targets = targets_of(answer.message) if answer else ()
                shown = draw(*enlarge(frame.image, targets, WIDTH))
            yield frame.index, shown
            if frame.index == outcome.frames[-1].number:
                return


def _sheet_numbers(run: CommandRun) -> list[int]:
    """Up to three answered frames of a run, evenly spread from near its start to its end."""
    answered = sorted(run.answers)
    places = (np.arange(1, SHEET_COLUMNS + 1) / SHEET_COLUMNS * len(answered)).astype(int) - 1
    return [answered[place] for place in np.unique(places[places >= 0])]


def _sheet(outcome: Outcome, cells: dict[int, np.ndarray]) -> np.ndarray:
    """A row per command; one that has fewer than three answered frames ends in empty cells."""
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
    seconds = (run.answers[number].stamp - outcome.frames[0].stamp) * 1e-9
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
    """Print the table, and leave the pictures in the folder.

    Raises:
        DemoError: a command got no answer.
        ReferDINOError: the pictures cannot be made.
    """
    print(f"\n{table(outcome)}\n", flush=True)
    if any(run.answers for run in outcome.runs):
        say("drawing the pictures")
        write_pictures(outcome, folder / OVERLAY, folder / SHEET)
        print(f"overlay video  {folder / OVERLAY}\ncontact sheet  {folder / SHEET}", flush=True)
    for run in outcome.runs:
        if not run.answers:
            raise DemoError(
                f'The command "{run.command.text}" got no answer in {len(run.frames)} frames: '
                f"see the log for errors; if the model is too slow for this stream, play it slower "
                "with --frame-rate."
            )
