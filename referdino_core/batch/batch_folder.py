# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of a batch: a folder per run, runs.jsonl with finished recordings, the summary."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from referdino_core.batch.one_run import forget
from referdino_core.batch.outcomes import RunOutcome
from referdino_core.errors import SourceError
from referdino_core.files import AtomicFile, OutputError
from referdino_core.replay.directory_lock import DirectoryLock
from referdino_core.replay.run_folder import SUMMARY_NAME, write_summary

RUNS_NAME = "runs.jsonl"
SETTINGS_NAME = ".settings.json"
"""Name of the file that holds the common settings of the runs."""


class BatchFolder:
    """The folder of a batch, locked by one process at a time.

    Attributes:
        path: the folder.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any], names: Collection[str], restart: bool
    ) -> None:
        """Open the folder, or create it.

        Args:
            settings: common settings of all runs, as plain data.
            names: of the recordings.
            restart: discard existing runs and start anew.

        Raises:
            SourceError: it holds runs with other settings, or another process uses it.
            OutputError: the folder cannot be written.
        """
        self.path = path
        self._lines: dict[str, str] = {}
        self._stack = ExitStack()
        try:
            self._stack.enter_context(DirectoryLock(path))
            if restart:
                for name in names:
                    forget(path / name)
                (path / RUNS_NAME).unlink(missing_ok=True)
            else:
                self._check(settings)
            # An existing summary is not of the runs to come.
            (path / SUMMARY_NAME).unlink(missing_ok=True)
            self._write(SETTINGS_NAME, json.dumps(settings))
            self._lines = self._kept_lines(names)
            self._write(RUNS_NAME, "".join(self._lines.values()))
            self._runs: io.TextIOWrapper = self._stack.enter_context(
                (path / RUNS_NAME).open("a", encoding="utf-8")
            )
        except OSError as error:
            self._stack.close()
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        except BaseException:
            self._stack.close()
            raise

    def add(self, outcome: RunOutcome) -> None:
        """Append the outcome of a recording, unless the same line is there already.

        Raises:
            OutputError: the disk does not take it.
        """
        line = json.dumps(outcome.line(), ensure_ascii=False, allow_nan=False) + "\n"
        line = line.encode("utf-8", "backslashreplace").decode()  # names that are not UTF-8
        if self._lines.get(outcome.name) == line:
            return
        self._lines[outcome.name] = line
        try:
            self._runs.write(line)
            self._runs.flush()
        except OSError as error:
            raise OutputError(f"{self._runs.name} cannot be written: {error.strerror}.") from error

    def complete(self, summary: Mapping[str, Any]) -> None:
        """Write the summary.

        Raises:
            OutputError: the disk does not take it.
        """
        write_summary(self.path, summary)

    def __enter__(self) -> BatchFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _check(self, settings: Mapping[str, Any]) -> None:
        """Refuse to mix runs with different settings."""
        try:
            earlier = json.loads((self.path / SETTINGS_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        wanted = json.loads(json.dumps(settings))
        names = sorted(earlier.keys() | wanted.keys())
        different = [name for name in names if earlier.get(name) != wanted.get(name)]
        if different:
            raise SourceError(
                f"{self.path} holds runs that differ in: {', '.join(different)}. Give their "
                "command again to resume, --restart to start anew, or another --out."
            )

    def _kept_lines(self, names: Collection[str]) -> dict[str, str]:
        """The lines of completed recordings; those that failed are tried again."""
        try:
            text = (self.path / RUNS_NAME).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        kept = {}
        for line in text.splitlines(keepends=True):
            try:
                entry = json.loads(line)
                if entry["name"] in names and entry["failure"] is None and line.endswith("\n"):
                    kept[entry["name"]] = line
            except (ValueError, KeyError, TypeError):  # the last line of a process that was killed
                continue
        return kept

    def _write(self, name: str, text: str) -> None:
        file = AtomicFile(self.path / name)
        file.temporary_path.write_text(text, encoding="utf-8")
        file.commit()
