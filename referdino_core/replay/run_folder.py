# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: the names of its files, and how they are written and read.

All files are written under hidden temporary names. The summary is renamed last: a folder that has
one is complete.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from referdino_core.errors import SourceError
from referdino_core.files import AtomicFile, OutputError, temporary_path

FORMAT = 1
RESULTS_NAME = "results.mcap"
OVERLAY_NAME = "overlay.mp4"
FRAMES_NAME = "frames.jsonl"
TIMING_NAME = "timing.jsonl"
SUMMARY_NAME = "summary.json"
REPORT_NAME = "report.html"

# Of names that are no UTF-8 it makes \udc80 and the like, as JSON writes them.
_NAMES = "backslashreplace"
_NEEDED = (RESULTS_NAME, FRAMES_NAME, TIMING_NAME)


class RunFolder:
    """A complete run, opened for reading.

    Attributes:
        path: the folder.
        summary: content of `summary.json`.
    """

    def __init__(self, path: Path | str) -> None:
        """Read the summary.

        Raises:
            SourceError: this is not a complete run, or one of another format.
        """
        self.path = Path(path)
        if not self.path.is_dir():
            raise SourceError(
                f"{self.path} is not a folder; give one that `referdino replay` wrote."
            )
        if not (self.path / SUMMARY_NAME).is_file():
            unfinished = temporary_path(self.path / FRAMES_NAME).exists()
            raise SourceError(
                f"{self.path} holds an unfinished run; give the same `referdino replay` command "
                "again to resume it."
                if unfinished
                else f"{self.path} holds no run: it has no {SUMMARY_NAME}."
            )
        self.summary = self._read_summary()
        # Where no encoder took the overlay, its name is null; older runs do not name it.
        overlay = self.summary.get("overlay", OVERLAY_NAME)
        needed = _NEEDED if overlay is None else (*_NEEDED, overlay)
        missing = [name for name in needed if not (self.path / name).is_file()]
        if missing:
            raise SourceError(
                f"{self.path} is not a complete run: {', '.join(missing)} is missing; replay again."
            )

    @property
    def command_keys(self) -> list[str]:
        """A key for every entry of the summary's `commands`: its id, and its number among
        commands of the same id. Runs with the same commands have the same keys.
        """
        seen: Counter[str] = Counter()
        keys = []
        for command in self.summary["commands"]:
            keys.append(f"{command['id']}#{seen[command['id']]}")
            seen[command["id"]] += 1
        return keys

    @property
    def scores_by_key(self) -> dict[str, Mapping[str, Any]]:
        """Scores by key, of the commands that were scored; `streaming` holds the streaming scores,
        if there are any.
        """
        keys, scores = self.command_keys, self.summary["scores"]
        if not scores:
            return {}
        streaming = scores.get("streaming") or {"commands": ()}
        streamed = {one["given"]: one for one in streaming["commands"]}
        return {
            keys[one["given"]]: {**one, "streaming": streamed.get(one["given"])}
            for one in scores["commands"]
        }

    @property
    def overall_scores(self) -> dict[str, Any] | None:
        """Scores of all commands together, `streaming` likewise; None without ground truth."""
        scores = self.summary["scores"]
        if not scores:
            return None
        return {**scores["all"], "streaming": (scores.get("streaming") or {}).get("all")}

    @property
    def is_being_replaced(self) -> bool:
        """Whether a later, unfinished run is in the same folder."""
        return temporary_path(self.path / FRAMES_NAME).exists()

    @property
    def results(self) -> Path:
        """The bag of results."""
        return self.path / RESULTS_NAME

    @property
    def overlay(self) -> Path:
        """The overlay video: one image per line of `frames`, at the source's frame rate.

        It is missing if no encoder was available; `problems` of the summary then says so.
        """
        return self.path / OVERLAY_NAME

    def frames(self) -> Iterator[dict[str, Any]]:
        """The lines of `frames.jsonl`, one by one.

        Raises:
            SourceError: a line is damaged, or there are not as many as the summary says.
        """
        path, count = self.path / FRAMES_NAME, 0
        for frame in read_lines(path):
            count += 1
            yield frame
        expected = self.summary["frames"]["read"]
        if count != expected:
            raise SourceError(
                f"{path} has {count} lines for {expected} frames; it is damaged, replay again."
            )

    def timing(self) -> Iterator[dict[str, Any]]:
        """The lines of `timing.jsonl`, one by one.

        Raises:
            SourceError: a line is damaged.
        """
        return read_lines(self.path / TIMING_NAME)

    def _read_summary(self) -> dict[str, Any]:
        path = self.path / SUMMARY_NAME
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be read: {error}.") from error
        found = summary.get("format") if isinstance(summary, dict) else None
        if found != FORMAT:
            raise SourceError(
                f"{path} has format {found!r}, and this version reads {FORMAT}; replay again."
            )
        return summary


def source_of_run(folder: Path) -> str | None:
    """The source of the complete run in a folder; None if there is no run."""
    try:
        source = json.loads((folder / SUMMARY_NAME).read_text(encoding="utf-8"))["source"]["path"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return source if isinstance(source, str) else None


class LineWriter:
    """A JSON Lines file written under its temporary name, to which writing can be resumed.

    Args:
        path: its final name.
        kept: bytes of an earlier attempt to keep; the rest is truncated.
    """

    def __init__(self, path: Path, kept: int = 0) -> None:
        """Open the file.

        Raises:
            OutputError: the place cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The file may not exist yet; "a" never cuts off what is there.
            self._file: io.BufferedWriter = temporary_path(path).open("ab")
            self._file.truncate(kept)
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            OutputError: the disk does not take it.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        try:
            self._file.write(line.encode("utf-8", _NAMES) + b"\n")
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error

    def flush(self) -> int:
        """Flush everything to the disk; returns the length in bytes.

        Raises:
            OutputError: the disk does not take it.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            return self._file.tell()
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Close the file under its temporary name; what was not flushed may be lost."""
        with suppress(OSError):
            self._file.close()


def counted(number: int, thing: str) -> str:
    """A number with its noun, such as "1 frame" and "2 frames"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write `summary.json` atomically.

    Raises:
        OutputError: the disk does not take it.
    """
    growing_summary(folder, summary).commit()


def growing_summary(folder: Path, summary: Mapping[str, Any]) -> AtomicFile:
    """Write `summary.json` under its temporary name.

    Raises:
        OutputError: the disk does not take it.
    """
    file = AtomicFile(folder / SUMMARY_NAME)
    text = json.dumps(summary, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    try:
        file.temporary_path.write_text(text, encoding="utf-8", errors=_NAMES)
    except OSError as error:
        raise OutputError(f"{file.path} cannot be written: {error.strerror}.") from error
    return file


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, one by one.

    Raises:
        SourceError: the file cannot be read, or a line of it is damaged.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise SourceError(f"{path}, line {number}, is damaged: {error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}.") from error
