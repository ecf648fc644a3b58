# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Exclusive lock on a results folder, and a check that it is apart from the source."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from referdino_core.errors import SourceError
from referdino_core.files import OutputError

LOCK_NAME = ".lock"


class DirectoryLock:
    """An exclusive lock on a folder, which is created if needed.

    The lock is released when the process ends, however it ends.
    """

    def __init__(self, path: Path) -> None:
        """Acquire the lock.

        Raises:
            SourceError: another process holds the lock.
            OutputError: the folder cannot be created or written.
        """
        self._path = path
        self._lock_path = path / LOCK_NAME
        try:
            if path.exists() and not path.is_dir():
                raise OutputError(f"{path} is a file; give a folder with --out.")
            self._made = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            self._lock = self._take()
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock; a folder that was created and stayed empty is removed."""
        with suppress(OSError):
            self._lock_path.unlink()
        os.close(self._lock)
        if self._made:
            with suppress(OSError):  # it is not empty
                self._path.rmdir()

    def _take(self) -> int:
        """The locked file, as a descriptor."""
        while True:
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Whoever held it before may have removed the file that was just locked.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(lock), self._lock_path.stat()):
                        return lock
            except BlockingIOError:
                os.close(lock)
                raise SourceError(
                    f"Another referdino is at work in {self._path}; wait for it, or give another "
                    "--out."
                ) from None
            os.close(lock)


def check_apart(out: Path, source: Path) -> None:
    """Check that the results folder and the source do not contain each other.

    Raises:
        SourceError: one of the two is the other, or lies in it.
    """
    result, origin = Path(os.path.realpath(out)), Path(os.path.realpath(source))
    if result == origin:
        relation = "is the source itself"
    elif result in origin.parents:
        relation = f"holds the source {source}"
    elif origin in result.parents and origin.is_dir():
        relation = f"lies in the source {source}"
    else:
        return
    raise SourceError(f"The folder for results, {out}, {relation}; give another one with --out.")
