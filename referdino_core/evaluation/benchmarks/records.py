# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What is kept of every question that was answered, so that a run can go on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from referdino_core.files import OutputError, PartialFile

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
        size: height and width of the frames, or of the truth where none could be read.
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
    file = PartialFile(path)
    try:
        file.growing_path.write_text(text, encoding="utf-8")
    except OSError as error:
        file.discard()
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    file.commit()
