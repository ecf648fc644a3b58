# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Frame-by-frame results as one JSON document, written incrementally.

The document is an object with the fields of its header, then

- `frames`: per frame `index`, `stamp` in seconds, and `targets`, each with `command_id`, `state`,
  `track_id`, `score`, `frame_score` (0…1), `box` (x0, y0, x1, y1 in pixels, the mask's own, or
  null), `predicted_box` (the box head's, likewise), `mask` (`size` as height and width, `counts` as
  COCO run lengths) and `judgement` (judged, reset, late or failed);
- `complete`: false if the run was interrupted.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from referdino_core.files import AtomicFile, Output, OutputError
from referdino_core.media.frame_source import Frame
from referdino_core.messages import run_lengths

if TYPE_CHECKING:
    from referdino_core.target import Target

_FRAMES_LINE = '  "frames": [\n'
_SCORE_DIGITS = 4
_PIXEL_DIGITS = 2
_STAMP_DIGITS = 6


class FrameRecordWriter(Output):
    """A JSON document with one line per frame, written atomically.

    Attributes:
        complete: set it to False if the run is interrupted.
    """

    def __init__(self, path: Path, head: Mapping[str, Any]) -> None:
        """Open the document with the fields of `head`.

        Raises:
            OutputError: the place cannot be written.
        """
        self._file = AtomicFile(path)
        self._separator = ""
        self.complete = True
        try:
            # Names that are not UTF-8 are escaped as JSON does, as \udc80.
            self._document = self._file.temporary_path.open(
                "w", encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        opened = json.dumps(head, ensure_ascii=False, indent=2)
        comma = "," if head else ""
        self._write(f"{opened.removesuffix('}').rstrip()}{comma}\n{_FRAMES_LINE.rstrip()}")

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

    def finish(self) -> None:
        """Write the end of the document, still under its temporary name.

        Raises:
            OutputError: the disk does not take it.
        """
        self._write(f'\n  ],\n  "complete": {json.dumps(self.complete)}\n}}\n')
        try:
            self._document.flush()
            os.fsync(self._document.fileno())
            self._document.close()
        except OSError as error:
            raise OutputError(f"{self._file.path} cannot be written: {error.strerror}.") from error

    def commit(self) -> None:
        """Rename the finished document to its final name.

        Raises:
            OutputError: it cannot be renamed.
        """
        self._file.commit()

    def discard(self) -> None:
        """Discard the document and remove what was written of it."""
        with suppress(OSError):  # the disk is still full
            self._document.close()
        self._file.discard()

    def _write(self, text: str) -> None:
        try:
            self._document.write(text)
        except OSError as error:
            raise OutputError(f"{self._file.path} cannot be written: {error.strerror}.") from error


def read_head(path: Path) -> dict[str, Any] | None:
    """The header fields of such a document; None if it has none."""
    try:
        with path.open(encoding="utf-8") as document:
            lines = list(takewhile(lambda line: line != _FRAMES_LINE, document))
        head = json.loads("".join(lines).rstrip().removesuffix(",") + "}")
    except (OSError, ValueError):
        return None
    return head if isinstance(head, dict) else None


def target_record(target: Target) -> dict[str, Any]:
    """A target as plain data without rounding; the mask as run lengths."""
    height, width = target.mask.shape
    return {
        "command_id": target.command_id,
        "state": target.state.value,
        "track_id": target.track_id,
        "score": target.score,
        "frame_score": target.frame_score,
        "box": target.box and list(target.box),
        "predicted_box": target.predicted_box and list(target.predicted_box),
        "mask": {"size": [height, width], "counts": run_lengths.encode(target.mask)},
        "judgement": target.judgement.value,
    }


def target_from_record(record: Mapping[str, Any], command: str) -> Target:
    """The target of a record by `target_record`, for a command with this sentence.

    Raises:
        ImageError: the mask's code is damaged.
    """
    from referdino_core.target import Judgement, Target, TargetState

    height, width = record["mask"]["size"]
    return Target(
        command_id=record["command_id"],
        command=command,
        track_id=record["track_id"],
        state=TargetState(record["state"]),
        score=record["score"],
        frame_score=record["frame_score"],
        box=_box(record["box"]),
        mask=run_lengths.decode(record["mask"]["counts"], height, width),
        predicted_box=_box(record.get("predicted_box")),
        judgement=Judgement(record.get("judgement", Judgement.JUDGED)),
    )


def _rounded(record: dict[str, Any]) -> dict[str, Any]:
    boxes = {
        name: record[name] and [round(coordinate, _PIXEL_DIGITS) for coordinate in record[name]]
        for name in ("box", "predicted_box")
    }
    scores = {name: round(record[name], _SCORE_DIGITS) for name in ("score", "frame_score")}
    return record | scores | boxes


def _box(values: Sequence[float] | None) -> tuple[float, float, float, float] | None:
    return None if values is None else (values[0], values[1], values[2], values[3])
