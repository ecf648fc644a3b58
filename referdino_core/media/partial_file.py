# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear under their name only once they are complete."""

from __future__ import annotations

from pathlib import Path

from referdino_core.errors import ReferDINOError


class OutputError(ReferDINOError):
    """A result cannot be written."""


class PartialFile:
    """A file that grows under a hidden name in the folder of its final one.

    Attributes:
        path: where the file is to appear.
        growing_path: where to write until then; keeps the suffix, by which video writers choose
            the container.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder and remove what an aborted run may have left there.

        Raises:
            OutputError: the folder cannot be made or written.
        """
        self.path = path
        self.growing_path = path.with_name(f".{path.stem}.partial{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.growing_path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def commit(self) -> None:
        """Give the finished file its name, in place of any earlier one.

        Raises:
            OutputError: the file cannot be renamed.
        """
        try:
            self.growing_path.replace(self.path)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error

    def discard(self) -> None:
        """Remove what was written; an earlier file of the same name stays as it is."""
        self.growing_path.unlink(missing_ok=True)
