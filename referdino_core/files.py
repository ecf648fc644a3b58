# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Atomic files, which appear only when they are complete; folder and version of referdino."""

from __future__ import annotations

import importlib.metadata
import tempfile
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


def package_version() -> str | None:
    """Version of the installed referdino; None if it runs from source, without installation."""
    try:
        return importlib.metadata.version("referdino")
    except importlib.metadata.PackageNotFoundError:
        return None


def temporary_path(path: Path) -> Path:
    """The hidden name of a file while it is written.

    It has the same suffix, from which video writers choose the container.
    """
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def create_folder(path: Path) -> None:
    """Create a folder with its parents unless it exists, and check that files can be written in it.

    For results that take long: what keeps them from being written is known before.

    Raises:
        OutputError: it cannot be created, or no file can be written in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


class AtomicFile:
    """A file that is written under a temporary name and renamed when it is complete.

    Attributes:
        path: the final path.
        temporary_path: the path to write to, in the same folder.
    """

    def __init__(self, path: Path) -> None:
        """Create the folder, and remove the temporary file of an aborted run.

        Raises:
            OutputError: the folder cannot be created or written.
        """
        self.path = path
        self.temporary_path = temporary_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary_path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def write(self, content: bytes) -> None:
        """Write the whole content, and rename the file to its final path.

        Raises:
            OutputError: the disk does not take it; an earlier file is kept.
        """
        try:
            self.temporary_path.write_bytes(content)
        except OSError as error:
            self.discard()
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error
        self.commit()

    def commit(self) -> None:
        """Rename the finished file to its final path, replacing an earlier one.

        Raises:
            OutputError: the file cannot be renamed.
        """
        try:
            self.temporary_path.replace(self.path)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error

    def discard(self) -> None:
        """Remove the temporary file; an earlier file at the final path is kept."""
        with suppress(OSError):
            self.temporary_path.unlink(missing_ok=True)


class Output(ABC):
    """Base of outputs that are written incrementally, under a temporary name until complete.

    As a context manager it closes the output on success, and discards it if an error occurs or if
    it cannot be finished.
    """

    @abstractmethod
    def finish(self) -> None:
        """Write the rest, still under the temporary name; nothing can be written afterwards.

        Raises:
            OutputError: it cannot be written.
        """

    @abstractmethod
    def commit(self) -> None:
        """Rename the finished output to its final name.

        Raises:
            OutputError: it cannot be renamed.
        """

    @abstractmethod
    def discard(self) -> None:
        """Discard the output and remove what was written of it; never raises."""

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
    """Several outputs that are renamed together when all are finished, or not at all.

    Enter it before opening its members, so that they are discarded if a later one cannot be opened.
    """

    def __init__(self) -> None:
        self._members: list[Output] = []

    def add(self, output: AnyOutput) -> AnyOutput:
        """Add an output; returns it."""
        self._members.append(output)
        return output

    def finish(self) -> None:
        """Finish all members.

        Raises:
            OutputError: one of them cannot be written.
        """
        for output in self._members:
            output.finish()

    def commit(self) -> None:
        """Rename all members to their final names.

        Raises:
            OutputError: one of them cannot be renamed.
        """
        for output in self._members:
            output.commit()

    def discard(self) -> None:
        """Discard all members."""
        for output in self._members:
            output.discard()
