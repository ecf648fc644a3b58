# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""File lock that keeps processes from doing the same work at the same time."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from referdino_core.errors import ReferDINOError
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import cannot_be_written

_SECONDS_BETWEEN_TRIES = 0.1


@contextmanager
def file_lock(
    path: Path,
    task: str,
    on_wait: Callable[[], None],
    monitor: ProgressMonitor,
    error: type[ReferDINOError],
) -> Iterator[None]:
    """Context that holds an exclusive lock between processes; waits for other processes first.

    Args:
        path: path of the lock file, which is created and remains.
        task: purpose of the lock, for the message of a cancellation.
        on_wait: called once if another process holds the lock.
        monitor: cancels waiting.
        error: raised if the file cannot be created.

    Raises:
        Cancelled: waiting was cancelled.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except OSError as cause:
        raise error(cannot_be_written(path, cause)) from cause
    with file:
        if not _try_to_lock(file.fileno()):
            on_wait()
            while not _try_to_lock(file.fileno()):
                monitor.cancelled.wait(_SECONDS_BETWEEN_TRIES)
                monitor.check(task)
        yield


def _try_to_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
