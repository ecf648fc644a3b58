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
            "targets": [_record(target) for target in targets],
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


def _record(target: Target) -> dict[str, Any]:
    height, width = target.mask.shape
    return {
        "command_id": target.command_id,
        "state": target.state.value,
        "track_id": target.track_id,
        "score": round(target.score, _SCORE_DIGITS),
        "frame_score": round(target.frame_score, _SCORE_DIGITS),
        "box": target.box and [round(coordinate, _PIXEL_DIGITS) for coordinate in target.box],
        "mask": {"size": [height, width], "counts": run_lengths.encode(target.mask)},
    }
