# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino segment`: segmentation of a video by sentences, as overlay video and masks."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from referdino_core.argument_types import positive_integer
from referdino_core.cli.arguments import (
    add_session_arguments,
    open_model,
)
from referdino_core.cli.progress import ExitStatus, GracefulShutdown, progress_bar
from referdino_core.errors import SourceError
from referdino_core.files import OutputGroup
from referdino_core.media.frame_records import FrameRecordWriter, read_head
from referdino_core.media.overlay import draw, enlarge
from referdino_core.media.result_names import results_folder
from referdino_core.media.sources import Frame, FrameSource, open_source
from referdino_core.media.writers import OptionalVideo
from referdino_core.target import Target, TargetState

if TYPE_CHECKING:
    from referdino_core.session.session import Session

OVERLAY_NAME = "overlay.mp4"
RECORDS_NAME = "frames.json"

_DESCRIPTION = f"""Finds the objects that sentences describe in a video, frame by frame.

Writes two files, both complete or neither:
  {OVERLAY_NAME}  the video with masks, boxes, states and scores drawn over it
  {RECORDS_NAME}  per frame and sentence: state, track id, scores, box, mask as COCO run lengths
Ctrl-C ends the run early and keeps the results so far."""

_EPILOG = """examples:
  referdino segment street.mp4 "the cyclist in the red jacket"
  referdino segment frames/ "a dog" "the person who throws the ball" --frame-rate 10 --out results
  referdino segment 0 "the mug" --frames 300
  referdino segment street.mp4 "the parked cars" --select all
  referdino segment street.mp4 "a dog" --model swinb --checkpoint ryt_swinb"""

_logger = logging.getLogger("referdino.segment")


@dataclass
class _Tally:
    """Statistics of one command over the frames so far."""

    command_id: str
    sentence: str
    tracked_frames: int = 0
    score_sum: float = 0.0
    objects: set[int] = field(default_factory=set)
    first_found: Frame | None = None

    def add(self, frame: Frame, targets: Sequence[Target]) -> None:
        tracked = [one for one in targets if one.state is TargetState.TRACKING]
        if not tracked:
            return
        self.tracked_frames += 1
        self.score_sum += max(one.score for one in tracked)
        self.objects |= {one.track_id for one in tracked}
        self.first_found = self.first_found or frame

    def line(self, frame_count: int) -> str:
        sentence = " ".join(self.sentence.split())
        if self.first_found is None:
            return f'"{sentence}": not found in {frame_count} frames'
        several = f"{len(self.objects)} objects, " if len(self.objects) > 1 else ""
        return (
            f'"{sentence}": tracked in {self.tracked_frames} of {frame_count} frames, '
            f"{several}first in frame {self.first_found.index} ({self.first_found.stamp:.2f} s), "
            f"mean score {self.score_sum / self.tracked_frames:.2f}"
        )


def add_command(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Add `segment` to the commands of the program."""
    parser = commands.add_parser(
        "segment",
        parents=[common],
        help="find the objects that sentences describe in a video",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="VIDEO",
        help='a video file, a folder of images, or a camera index such as "0"',
    )
    parser.add_argument(
        "sentences",
        nargs="+",
        metavar="SENTENCE",
        help="description of the object to find; several are processed together",
    )
    add_session_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: NAME_referdino)"
    )
    parser.add_argument(
        "--every",
        type=positive_integer,
        default=1,
        metavar="N",
        help="use only every Nth frame",
    )
    parser.add_argument("--frames", type=positive_integer, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--frame-rate",
        type=float,
        metavar="FPS",
        help="frames per second of an image folder (default: 25); overrides that of a video",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Segment a source and return the exit status.

    Raises:
        ReferDINOError: an argument is invalid; nothing was written.
    """
    with open_source(arguments.source, arguments.frame_rate) as source:
        folder = arguments.out or results_folder(arguments.source, "referdino", _source_of)
        _check_apart(folder, Path(arguments.source))
        session = open_model(arguments).session
        session.commands = {
            f"sentence {place}": sentence for place, sentence in enumerate(arguments.sentences, 1)
        }
        tallies = [_Tally(key, sentence) for key, sentence in session.commands.items()]
        start = time.monotonic()
        with GracefulShutdown() as stop:
            frame_count = _write_results(arguments, source, session, folder, tallies, stop)
        seconds = time.monotonic() - start
    for tally in tallies:
        print(tally.line(frame_count))
    print(
        f"{frame_count} frames in {seconds:.1f} s ({frame_count / seconds:.1f} per second, "
        f"{session.model_name} on {session.device}, {session.runtime})"
    )
    for name in (OVERLAY_NAME, RECORDS_NAME):
        if (folder / name).exists():
            print(folder / name)
    if not stop.requested:
        return ExitStatus.DONE
    _logger.warning("Stopped early; the files hold the first %d frames.", frame_count)
    return ExitStatus.INTERRUPTED


def _write_results(
    arguments: argparse.Namespace,
    source: FrameSource,
    session: Session,
    folder: Path,
    tallies: Sequence[_Tally],
    stop: GracefulShutdown,
) -> int:
    """Process the frames and write both files; returns the number of frames."""
    frames = islice(source, 0, None, arguments.every)
    first = next(frames)
    overlay_height, overlay_width = enlarge(first.image, ())[0].shape[:2]
    frame_rate = source.frame_rate / arguments.every
    frame_count = 0
    with (
        OutputGroup() as outputs,
        progress_bar(total=_expected_count(arguments, source), unit="frame") as bar,
    ):
        records = outputs.add(
            FrameRecordWriter(folder / RECORDS_NAME, _head(source, session, first))
        )
        size = (overlay_width, overlay_height)
        video = outputs.add(OptionalVideo(folder / OVERLAY_NAME, frame_rate, size))
        for frame in islice(chain((first,), frames), arguments.frames):
            targets = session.step(frame.image, frame.stamp)
            video.write(draw(*enlarge(frame.image, targets)))
            records.write(frame, targets)
            for tally in tallies:
                own = [target for target in targets if target.command_id == tally.command_id]
                tally.add(frame, own)
            frame_count += 1
            bar.update()
            if stop.requested:
                records.complete = False
                break
    return frame_count


def _head(source: FrameSource, session: Session, first: Frame) -> dict[str, Any]:
    height, width = first.image.shape[:2]
    return {
        "source": {
            "description": source.description,
            "frame_rate": source.frame_rate,
            "frame_count": source.frame_count,
            "width": width,
            "height": height,
        },
        "model": session.model_name,
        "commands": [
            {"command_id": key, "command": sentence} for key, sentence in session.commands.items()
        ],
    }


def _expected_count(arguments: argparse.Namespace, source: FrameSource) -> int | None:
    counts = [] if source.frame_count is None else [-(-source.frame_count // arguments.every)]
    counts += [] if arguments.frames is None else [arguments.frames]
    return min(counts, default=None)


def _check_apart(folder: Path, source: Path) -> None:
    """Check that no result overwrites the source, such as an overlay that is segmented again.

    Raises:
        SourceError: a result would.
    """
    for name in (OVERLAY_NAME, RECORDS_NAME):
        with suppress(OSError):  # either of them does not exist
            if (folder / name).samefile(source):
                raise SourceError(
                    f"{source} would be replaced by the results; give another folder with --out."
                )


def _source_of(folder: Path) -> str | None:
    """The source of the results in a folder; None if there are none."""
    head = read_head(folder / RECORDS_NAME)
    description = head.get("source", {}).get("description") if head else None
    return description if isinstance(description, str) else None
