# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the user gets at the end: a line per command, and pictures."""

from __future__ import annotations

from pathlib import Path

from referdino_ros.demo.errors import DemoError
from referdino_ros.demo.outcome import Outcome
from referdino_ros.demo.pictures import write_pictures
from referdino_ros.demo.scoring import table
from referdino_ros.demo.streaming import say

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
