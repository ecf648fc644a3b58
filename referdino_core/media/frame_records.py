# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Results frame by frame as one JSON document, written as they come.

The document is an object with the fields of the head it was opened with, then

- `frames`: per frame `index`, `stamp` in seconds, and `targets`, each with `command_id`, `state`,
  `track_id`, `score`, `frame_score` (0…1), `box` (x0, y0, x1, y1 in pixels, or null) and `mask`
  (`size` as height and width, `counts` as COCO run lengths);
- `complete`: false where the run was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from referdino_core.media import run_lengths
from referdino_core.media.partial_file import Output, OutputError, PartialFile
from referdino_core.media.sources import Frame

if TYPE_CHECKING:
    from referdino_core.session import Target

_SCORE_DIGITS = 4
_PIXEL_DIGITS = 2
_STAMP_DIGITS = 6


class FrameRecordWriter(Output):
    """A JSON document that grows by a line per frame and appears under its name when it is closed.

    Attributes:
        complete: to be set to False where a run is interrupted.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        """Open the document with the fields of `head`.

        Raises:
            OutputError: the place cannot be written.
        """
        self._file = PartialFile(path)
        self._separator = ""
        self.complete = True
        try:
            self._document = self._file.growing_path.open("w", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        opened = json.dumps(head, ensure_ascii=False, indent=2)
        self._write(
            opened.removesuffix("}").rstrip() + (',\n  "frames": [' if head else '\n  "frames": [')
        )

    def write(self, frame: Frame, targets: Sequence[Target]) -> None:
        """Append one frame and its targets.

        Raises:
            OutputError: the disk does not take it.
        """
        record = {
            "index": frame.index,
            "stamp": round(frame.stamp, _STAMP_DIGITS),
            "targets": [_rounded(target_record(target)) for target in targets],
        }
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        self._write(f"{self._separator}\n    {line}")
        self._separator = ","

    def close(self) -> None:
        """Finish the document and give it its name.

        Raises:
            OutputError: the disk does not take it.
        """
        self._write(f'\n  ],\n  "complete": {json.dumps(self.complete)}\n}}\n')
        self._document.close()
        self._file.commit()

    def discard(self) -> None:
        """Give the document up and remove what was written of it."""
        self._document.close()
        self._file.discard()

    def _write(self, text: str) -> None:
        try:
            self._document.write(text)
        except OSError as error:
            raise OutputError(f"{self._file.path} cannot be written: {error.strerror}.") from error


def target_record(target: Target) -> dict[str, Any]:
    """A target as plain data, exact: scores and box as they are, the mask as run lengths."""
    height, width = target.mask.shape
    return {
        "command_id": target.command_id,
        "state": target.state.value,
        "track_id": target.track_id,
        "score": target.score,
        "frame_score": target.frame_score,
        "box": target.box and list(target.box),
        "mask": {"size": [height, width], "counts": run_lengths.encode(target.mask)},
    }


def target_from_record(record: Mapping[str, Any], command: str) -> Target:
    """The target that `target_record` wrote, of a command with this sentence.

    Raises:
        ImageError: the mask's code is damaged.
    """
    from referdino_core.session import Target, TargetState

    height, width = record["mask"]["size"]
    box = record["box"]
    return Target(
        command_id=record["command_id"],
        command=command,
        track_id=record["track_id"],
        state=TargetState(record["state"]),
        score=record["score"],
        frame_score=record["frame_score"],
        box=None if box is None else (box[0], box[1], box[2], box[3]),
        mask=run_lengths.decode(record["mask"]["counts"], height, width),
    )


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    box = record["box"]
    return record | {
        "score": round(record["score"], _SCORE_DIGITS),
        "frame_score": round(record["frame_score"], _SCORE_DIGITS),
        "box": box and [round(coordinate, _PIXEL_DIGITS) for coordinate in box],
    }
