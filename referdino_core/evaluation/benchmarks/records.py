# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Records of evaluated questions, from which a run resumes, and submission files."""

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

_FORMAT = 3  # since 3, unreadable frames are scored as empty predictions
_HARMLESS = " !#$&'()+,;=@[]^{}~"


@dataclass(frozen=True)
class Record:
    """Prediction and scores of one question.

    Attributes:
        video, clip, question: their names.
        frames: names of the clip's frames.
        unread: indices of unreadable frames.
        judged: indices of evaluated frames, unreadable ones as empty predictions.
        size: height and width of the frames, or of the ground truth if no frame is readable.
        expressions: number of expressions of the question.
        problems: one line per problem.
        prediction, scores: in the format of the benchmark's protocol.
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
    """A folder of records, each in its own atomically written file."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open the store.

        Args:
            settings: everything that records depend on; records of other settings are ignored.
        """
        self.folder = folder
        self._settings = json.loads(json.dumps(settings))

    def read(self, clip: str, question: str) -> Record | None:
        """The record of a question; None if there is none with these settings."""
        try:
            content = json.loads(self._path(clip, question).read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or content["settings"] != self._settings:
                return None
            return Record(**content["record"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Write a record.

        Raises:
            OutputError: the disk does not take it.
        """
        path = self._path(record.clip, record.question)
        content = {"format": _FORMAT, "settings": self._settings, "record": asdict(record)}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
        AtomicFile(path).write(text.encode())

    def _path(self, clip: str, question: str) -> Path:
        return self.folder / file_name(clip) / f"{file_name(question)}.json"


def file_name(name: str) -> str:
    """The name, quoted so that it is valid and unambiguous on every file system."""
    quoted = quote(name, safe=_HARMLESS)
    return f"%2E{quoted[1:]}" if quoted.startswith(".") else quoted


ANNOTATIONS = "Annotations"


def write_submission(records: Iterable[Record], folder: Path, inside: str) -> Path:
    """Write Annotations/VIDEO/EXPRESSION/FRAME.png and a zip file of the same.

    Masks are grey images, 255 inside and 0 outside. An unreadable frame gets an empty mask, since
    the server expects a file for every frame.

    Args:
        folder: output folder of both.
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
