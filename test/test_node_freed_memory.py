# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a thread frees goes back to the system."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

import pytest

from referdino_ros import freed_memory
from referdino_ros.freed_memory import FreedMemory

BLOCK, BLOCKS = 60_000, 2000  # too small to be mapped singly; 120 MB


def resident() -> float:
    """Megabytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024.0


def leave_holes() -> None:
    """Fill an arena and free it below a block that stays."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(ctypes.c_size_t(BLOCK)) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    libc.malloc(ctypes.c_size_t(BLOCK))
    for block in blocks:
        libc.free(block)


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
def test_memory_that_a_thread_freed_goes_back_to_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = FreedMemory()
    thread = threading.Thread(target=leave_holes)
    thread.start()
    thread.join()
    full = resident()

    memory.give_back()
    assert resident() == pytest.approx(full, abs=20)  # it is too early
    monkeypatch.setattr(freed_memory, "PERIOD", 0.0)
    memory.give_back()

    assert resident() < full - 80


def test_without_glibc_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(freed_memory, "PERIOD", 0.0)
    FreedMemory().give_back()
