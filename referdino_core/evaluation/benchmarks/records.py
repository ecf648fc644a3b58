# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What is kept of every question: records that a run resumes from, files of a submission."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np

from referdino_core.files import AtomicFile, OutputError
from referdino_core.messages import run_lengths

Json = dict[str, Any]

_FORMAT = 3  # from 3 on, frames that could not be read are scored as empty answers
_HARMLESS = " !#$&'()+,;=@[]^{}~"


@dataclass(frozen=True)
class Record:
    """One question, answered and scored.

    Attributes:
        video, clip, question: their names.
        frames: names of the clip's frames.
        unread: places of those that could not be read.
        judged: places of those that were scored, unread ones as empty answers.
        size: height and width of the frames, or of the ground truth where none could be read.
        expressions: how many sentences the question has.
        problems: what was found wrong, a line each.
        prediction, scores: as the benchmark's protocol writes them.
    """

    video: str
    clip: str
    question: str
    frames: list[str]
    unread: list[int]
    judged: list[int]
    size: list[int]
    expressions: int
    problems: list[str]
    prediction: Json
    scores: Json


class RecordStore:
    """A folder of records, each a file of its own that appears when it is complete."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Keep records in a folder.

        Args:
            settings: all that the records depend on; those of other settings are not taken up.
        """
        self.folder = folder
        self._settings = json.loads(json.dumps(settings))

    def read(self, clip: str, question: str) -> Record | None:
        """The record of a question; None where there is none of these settings."""
        try:
            content = json.loads(self._path(clip, question).read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or content["settings"] != self._settings:
                return None
            return Record(**content["record"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Keep a record.

        Raises:
            OutputError: the disk does not take it.
        """
        path = self._path(record.clip, record.question)
        content = {"format": _FORMAT, "settings": self._settings, "record": asdict(record)}
        write_text(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")

    def _path(self, clip: str, question: str) -> Path:
        return self.folder / file_name(clip) / f"{file_name(question)}.json"


def file_name(name: str) -> str:
    """The name in a form that no file system and no path takes for something else."""
    quoted = quote(name, safe=_HARMLESS)
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    file = AtomicFile(path)
    try:
        file.temporary_path.write_text(text, encoding="utf-8")
    except OSError as error:
        file.discard()
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    file.commit()


ANNOTATIONS = "Annotations"


def write_submission(records: Iterable[Record], folder: Path, inside: str) -> Path:
    """Write Annotations/VIDEO/EXPRESSION/FRAME.png and a zip file of the same.

    Masks are grey images, 255 inside and 0 outside. A frame that could not be read gets an empty
    one, since the server expects a file for every frame.

    Args:
        folder: where both go.
        inside: folder within the zip file, or "" for none.

    Returns:
        The zip file.

    Raises:
        OutputError: the disk does not take it.
    """
    file = AtomicFile(folder / "submission.zip")
    try:
        with zipfile.ZipFile(file.temporary_path, "w", zipfile.ZIP_STORED) as archive:
            for record in records:
                place = Path(file_name(record.video)) / file_name(record.question)
                (folder / ANNOTATIONS / place).mkdir(parents=True, exist_ok=True)
                for frame, code in zip(record.frames, record.prediction["masks"], strict=True):
                    image = _png(code, record.size)
                    name = place / f"{file_name(frame)}.png"
                    (folder / ANNOTATIONS / name).write_bytes(image)
                    archive.writestr((Path(inside) / name).as_posix(), image)
    except OSError as error:
        file.discard()
        raise OutputError(f"{file.path} cannot be written: {error.strerror}.") from error
    file.commit()
    return file.path


def _png(code: str | None, size: list[int]) -> bytes:
    height, width = size
    mask = np.zeros((height, width), dtype=bool)
    if code is not None:
        mask = run_lengths.decode(code, height, width)
    return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
