# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear under their name only once they are complete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from referdino_core.errors import ReferDINOError

AnyOutput = TypeVar("AnyOutput", bound="Output")


class OutputError(ReferDINOError):
    """A result cannot be written."""


def growing_path(path: Path) -> Path:
    """The hidden name under which a file grows; keeps the suffix, by which video writers choose
    the container.
    """
    return path.with_name(f".{path.stem}.partial{path.suffix}")


class PartialFile:
    """A file that grows under a hidden name in the folder of its final one.

    Attributes:
        path: where the file is to appear.
        growing_path: where to write until then.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder and remove what an aborted run may have left there.

        Raises:
            OutputError: the folder cannot be made or written.
        """
        self.path = path
        self.growing_path = growing_path(path)
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


class Output(ABC):
    """Something that is written bit by bit.

    As a context manager it keeps what was written on success and discards it when an error passes
    through.
    """

    @abstractmethod
    def close(self) -> None:
        """Finish the file and give it its name.

        Raises:
            OutputError: the file cannot be finished.
        """

    @abstractmethod
    def discard(self) -> None:
        """Give the file up and remove what was written of it."""

    def __enter__(self: AnyOutput) -> AnyOutput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()
