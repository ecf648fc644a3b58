# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Files that appear under their name only once they are complete; the folder of this package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from referdino_core.errors import ReferDINOError

PACKAGE = Path(__file__).parent
"""The folder of referdino_core."""

AnyOutput = TypeVar("AnyOutput", bound="Output")


class OutputError(ReferDINOError):
    """A result cannot be written."""


def temporary_path(path: Path) -> Path:
    """The hidden name under which a file grows; keeps the suffix, by which video writers choose
    the container.
    """
    return path.with_name(f".{path.stem}.partial{path.suffix}")


class AtomicFile:
    """A file that grows under a hidden name in the folder of its final one.

    Attributes:
        path: where the file is to appear.
        temporary_path: where to write until then.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder and remove what an aborted run may have left there.

        Raises:
            OutputError: the folder cannot be made or written.
        """
        self.path = path
        self.temporary_path = temporary_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary_path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def commit(self) -> None:
        """Give the finished file its name, in place of any earlier one.

        Raises:
            OutputError: the file cannot be renamed.
        """
        try:
            self.temporary_path.replace(self.path)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error

    def discard(self) -> None:
        """Remove what was written; an earlier file of the same name stays as it is."""
        with suppress(OSError):
            self.temporary_path.unlink(missing_ok=True)


class Output(ABC):
    """Something that is written bit by bit, under a hidden name until it is complete.

    As a context manager it keeps what was written on success and discards it when an error passes
    through, or when it cannot be finished.
    """

    @abstractmethod
    def finish(self) -> None:
        """Write what is missing, still under the hidden name; nothing can be written then.

        Raises:
            OutputError: the disk does not take it.
        """

    @abstractmethod
    def commit(self) -> None:
        """Give what is finished its name.

        Raises:
            OutputError: it cannot be renamed.
        """

    @abstractmethod
    def discard(self) -> None:
        """Give it up and remove what was written of it; raises nothing."""

    def close(self) -> None:
        """Finish and commit.

        Raises:
            OutputError: it cannot be finished.
        """
        self.finish()
        self.commit()

    def __enter__(self: AnyOutput) -> AnyOutput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise


class OutputGroup(Output):
    """Several outputs that get their names together, once all of them are finished, or not at all.

    To be entered before its members are opened, so that those are discarded where a later one
    cannot be.
    """

    def __init__(self) -> None:
        self._members: list[Output] = []

    def add(self, output: AnyOutput) -> AnyOutput:
        """Take an output in; returns it."""
        self._members.append(output)
        return output

    def finish(self) -> None:
        """Finish all.

        Raises:
            OutputError: the disk does not take one of them.
        """
        for output in self._members:
            output.finish()

    def commit(self) -> None:
        """Give all their names.

        Raises:
            OutputError: one of them cannot be renamed.
        """
        for output in self._members:
            output.commit()

    def discard(self) -> None:
        """Give all up."""
        for output in self._members:
            output.discard()
