# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A run in progress: its journal, and the snapshot from which it resumes after a kill.

The journal (`frames.jsonl` under its temporary name) holds the results so far. A snapshot says how
much of it is valid and holds the session's state at that point; the rest is truncated and computed
again. If the recording, its ground truth, the weights or the code changed meanwhile, the run
restarts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from referdino_core.errors import SourceError
from referdino_core.files import AtomicFile, OutputError, temporary_path
from referdino_core.replay.run_folder import (
    FRAMES_NAME,
    SUMMARY_NAME,
    TIMING_NAME,
    LineWriter,
    counted,
    growing_summary,
    read_lines,
)
from referdino_core.replay.run_summary import MAY_CHANGE_UNASKED

SNAPSHOT_NAME = ".snapshot.pt"
FRAMES_BETWEEN_SNAPSHOTS = 100

_logger = logging.getLogger("referdino.replay")


class UnfinishedRun:
    """The journal of a run, new or resumed from an earlier attempt.

    Attributes:
        frames_done: frames whose records an earlier attempt left.
        frames_kept: frames that need not be processed again when the run resumes.
        remembered: the session's snapshot after those; None without an earlier attempt.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], restart: bool) -> None:
        """Resume the run in a folder, or start one.

        Args:
            identity: everything that the results depend on, as plain data.
            restart: start from the beginning even if there is an unfinished run.

        Raises:
            SourceError: a run of another command is unfinished there.
            OutputError: the folder cannot be written.
        """
        self.folder = folder
        self._identity = dict(identity)
        self._snapshot_path = folder / SNAPSHOT_NAME
        snapshot = None if restart else self._load()
        if snapshot is not None and not self._is_same(snapshot["identity"]):
            snapshot = None
        self.frames_done: int = snapshot["frames"] if snapshot else 0
        self.frames_kept = self.frames_done
        self.remembered: dict[str, Any] | None = snapshot["session"] if snapshot else None
        if snapshot is None:
            self._snapshot_path.unlink(missing_ok=True)
        self._frames = LineWriter(folder / FRAMES_NAME, snapshot["frames_bytes"] if snapshot else 0)
        self._timing = LineWriter(folder / TIMING_NAME, snapshot["timing_bytes"] if snapshot else 0)

    def recorded(self) -> Iterator[dict[str, Any]]:
        """The records of the frames that are done.

        Raises:
            SourceError: a record is damaged.
        """
        count, path = 0, temporary_path(self.folder / FRAMES_NAME)
        try:
            for record in islice(read_lines(path), self.frames_done):
                count += 1
                yield record
        except SourceError as error:
            raise self.damaged(str(error)) from error
        if count < self.frames_done:
            raise self.damaged(f"it ends after frame {count}")

    @property
    def outlook(self) -> str:
        """One sentence on where the same command would resume."""
        if not self.frames_kept:
            return "Nothing is kept; the same command starts from the beginning."
        kept = counted(self.frames_kept, "frame")
        return f"Kept so far: {kept}; the same command resumes from there."

    def damaged(self, reason: str) -> SourceError:
        """The error to raise for a damaged journal."""
        return SourceError(
            f"The journal of the unfinished run in {self.folder} is damaged: {reason.rstrip('.')}. "
            "Give --restart to start from the beginning."
        )

    def write_frame(self, record: Mapping[str, Any]) -> None:
        """Append the record of a frame.

        Raises:
            OutputError: the disk does not take it.
        """
        self._frames.write(record)

    def write_timing(self, record: Mapping[str, Any]) -> None:
        """Append the timing of a frame.

        Raises:
            OutputError: the disk does not take it.
        """
        self._timing.write(record)

    def save(self, frames: int, session: Mapping[str, Any]) -> None:
        """Save a snapshot: the number of frames done, and the session's state.

        Raises:
            OutputError: the disk does not take it.
        """
        import torch

        snapshot = {
            "identity": self._identity,
            "frames": frames,
            "frames_bytes": self._frames.flush(),
            "timing_bytes": self._timing.flush(),
            "session": dict(session),
        }
        file = AtomicFile(self._snapshot_path)
        try:
            with file.temporary_path.open("wb") as opened:
                torch.save(snapshot, opened)
                opened.flush()
                os.fsync(opened.fileno())
        except (OSError, RuntimeError) as error:
            file.discard()
            raise OutputError(f"{self._snapshot_path} cannot be written: {error}.") from error
        file.commit()
        self.frames_kept = frames

    def complete(self, commit: Sequence[Callable[[], None]], summary: Mapping[str, Any]) -> None:
        """Rename everything to its final name, the summary last.

        Args:
            commit: functions that rename the other results.

        Raises:
            OutputError: a file cannot be renamed.
        """
        self._frames.flush()
        self._timing.flush()
        self.close()
        growing = growing_summary(self.folder, summary)
        # From here on, an earlier run in the folder no longer counts as complete.
        (self.folder / SUMMARY_NAME).unlink(missing_ok=True)
        for give_name in commit:
            give_name()
        for name in (FRAMES_NAME, TIMING_NAME):
            try:
                temporary_path(self.folder / name).replace(self.folder / name)
            except OSError as error:
                raise OutputError(f"{self.folder / name} cannot be written: {error}.") from error
        self._snapshot_path.unlink(missing_ok=True)
        growing.commit()

    def close(self) -> None:
        """Close the journal; the run stays unfinished."""
        self._frames.close()
        self._timing.close()

    def _load(self) -> dict[str, Any] | None:
        """The snapshot, if it is complete and its journal is there; else None."""
        import torch

        lines = temporary_path(self.folder / FRAMES_NAME)
        if not self._snapshot_path.is_file() or not lines.is_file():
            return None
        try:
            snapshot = torch.load(self._snapshot_path, weights_only=True, map_location="cpu")
        except Exception:  # torch has many ways to complain about a damaged file
            _logger.warning("%s is damaged; the run restarts.", self._snapshot_path)
            return None
        if lines.stat().st_size < snapshot["frames_bytes"]:
            _logger.warning("%s is truncated; the run restarts.", lines)
            return None
        return snapshot

    def _is_same(self, identity: Mapping[str, Any]) -> bool:
        """Whether the unfinished run can resume; it cannot if its inputs changed meanwhile.

        Raises:
            SourceError: it is the run of another command.
        """
        names = sorted(identity.keys() | self._identity.keys())
        different = [name for name in names if identity.get(name) != self._identity.get(name)]
        if not different:
            return True
        # Other code may mean other things by the same words.
        if "code" not in different and not set(different) <= set(MAY_CHANGE_UNASKED):
            raise SourceError(
                f"{self.folder} holds an unfinished run that differs in: {', '.join(different)}. "
                "Give its command again to resume, --restart to start anew, or another --out."
            )
        _logger.warning(
            "The unfinished run in %s restarts, since this changed meanwhile: %s.",
            self.folder,
            ", ".join(name for name in different if name in MAY_CHANGE_UNASKED),
        )
        return False
