# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation: the journal on the disk, and the table in Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.files import OutputError, create_folder
from referdino_core.follow_evaluation.running import EpisodeResult
from referdino_core.simulation import SPLITS

_NAME = "episodes.jsonl"


class Journal:
    """A file with a line of settings and a line for each episode; without a folder, nothing.

    Attributes:
        results: those of an earlier run with the same settings.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        """Open the journal of a folder, or begin it.

        Raises:
            ReferDINOError: the folder holds results of other settings, or cannot be written.
        """
        self._path = None if folder is None else folder / _NAME
        self.results: list[EpisodeResult] = []
        if self._path is None:
            return
        head = json.dumps(settings)
        create_folder(self._path.parent)
        if not self._path.exists():
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
        """Append a result.

        Raises:
            OutputError: the disk does not take it.
        """
        if self._path is None:
            return
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from error


_HEADER = (
    "| split | follower | success | wrong object | collisions | error | time | path ratio | in view"
    " | found | longest blind drive |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def summaries(results: Sequence[EpisodeResult]) -> list[dict[str, Any]]:
    """A row for each split and follower that was run, in the order of the splits."""
    followers = list(dict.fromkeys(result.follower for result in results))
    rows = []
    for split in SPLITS:
        for follower in followers:
            own = [one for one in results if (one.split, one.follower) == (split, follower)]
            if own:
                rows.append(_summary(split, follower, own))
    return rows


def _summary(split: str, follower: str, own: Sequence[EpisodeResult]) -> dict[str, Any]:
    done = [one for one in own if one.success]
    return {
        "split": split,
        "follower": follower,
        "episodes": len(own),
        "success": len(done) / len(own),
        "wrong_object": float(np.mean([one.wrong_object for one in own])),
        "collisions": sum(one.collisions for one in own),
        "error": float(np.median([abs(one.distance_error) for one in own])),
        "seconds": float(np.median([one.seconds for one in done])) if done else None,
        "path_ratio": float(np.median([one.path_ratio for one in done])) if done else None,
        "in_view": float(np.mean([one.in_view for one in own])),
        "found": float(np.mean([one.found for one in own])),
        "blind": max(one.blind for one in own),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table.

    Error is the median difference from the asked distance at the end; time and path ratio are
    medians of the episodes that succeeded.
    """
    lines = [_HEADER]
    for row in rows:
        absent = row["split"] == "absent"
        seconds = "–" if row["seconds"] is None or absent else f"{row['seconds']:.1f} s"
        ratio = "–" if row["path_ratio"] is None or absent else f"{row['path_ratio']:.2f}"
        error = "–" if absent else f"{row['error']:.2f} m"
        in_view = "–" if absent else f"{row['in_view']:.0%}"
        found = "–" if absent else f"{row['found']:.0%}"
        lines.append(
            f"| {row['split']} ({row['episodes']}) | {row['follower']} | {row['success']:.0%} "
            f"| {row['wrong_object']:.0%} | {row['collisions']} | {error} | {seconds} | {ratio} "
            f"| {in_view} | {found} | {row['blind']:.2f} m |"
        )
    return "\n".join(lines)


def as_json(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Rows and episodes, for a JSON file."""
    return {"rows": summaries(results), "episodes": [asdict(one) for one in results]}
