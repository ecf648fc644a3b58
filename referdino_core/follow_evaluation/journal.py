# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Results on the disk as they come, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from referdino_core.errors import ReferDINOError
from referdino_core.follow_evaluation.running import EpisodeResult

_NAME = "episodes.jsonl"


class Journal:
    """A file with a line of settings and a line for each episode; without a folder, nothing.

    Attributes:
        results: those of an earlier run with the same settings.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        """Open the journal of a folder, or begin it.

        Raises:
            ReferDINOError: the folder holds results of other settings.
        """
        self._path = None if folder is None else folder / _NAME
        self.results: list[EpisodeResult] = []
        if self._path is None:
            return
        head = json.dumps(settings)
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(f"{head}\n")
            return
        text = self._path.read_text()
        if not text.endswith("\n"):
            self._path.write_text(f"{text}\n")  # cut off when the run before was ended
        first, *lines = text.splitlines()
        if first != head:
            raise ReferDINOError(
                f"{self._path} holds results of other settings; give another folder, or remove it."
            )
        for line in lines:
            try:
                self.results.append(EpisodeResult(**json.loads(line)))
            except (ValueError, TypeError):
                continue

    def add(self, result: EpisodeResult) -> None:
        """Append a result."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
