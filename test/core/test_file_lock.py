# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Locks between processes: one waits for the other, and can be cancelled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from repository import REPOSITORY

from referdino_core.errors import Cancelled, ExportError
from referdino_core.file_lock import file_lock
from referdino_core.progress import ProgressMonitor

HOLDER = """
import sys
from pathlib import Path
from referdino_core.errors import ExportError
from referdino_core.file_lock import file_lock
from referdino_core.progress import ProgressMonitor
with file_lock(Path(sys.argv[1]), "Holding", lambda: None, ProgressMonitor(), ExportError):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def lock(
    path: Path, waits: list[str], monitor: ProgressMonitor | None = None
) -> AbstractContextManager[None]:
    return file_lock(
        path, "The task", lambda: waits.append("waits"), monitor or ProgressMonitor(), ExportError
    )


def test_a_free_lock_is_taken_at_once_and_again(tmp_path: Path) -> None:
    waits: list[str] = []
    for _ in range(2):
        with lock(tmp_path / "new folder" / "lock", waits):
            pass
    assert not waits


def test_a_process_waits_until_another_lets_go(tmp_path: Path) -> None:
    waits: list[str] = []
    with held_by_another_process(tmp_path / "lock") as process:

        def let_go() -> None:
            waits.append("waits")
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        with file_lock(tmp_path / "lock", "The task", let_go, ProgressMonitor(), ExportError):
            assert waits == ["waits"]


def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    monitor = ProgressMonitor()
    monitor.cancelled.set()
    waits: list[str] = []
    with (
        held_by_another_process(tmp_path / "lock"),
        pytest.raises(Cancelled, match=r"^The task was cancelled\.$"),
        lock(tmp_path / "lock", waits, monitor),
    ):
        raise AssertionError("the lock is held by another process")
    assert waits == ["waits"]


def test_a_lock_that_cannot_be_made_is_the_callers_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="file"), lock(tmp_path / "file" / "lock", []):
        raise AssertionError("there is no such folder")
