# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How many pools of memory the threads of a process have."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from referdino_ros.process import ARENAS, use_few_arenas

PROGRAM = """
import ctypes, sys, threading
from referdino_ros.process import use_few_arenas
mode = sys.argv[1]
if mode == "few":
    use_few_arenas()
together = threading.Barrier(8)
def allocate():
    together.wait()
    blocks = [bytearray(50_000) for _ in range(200)]
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(0 if mode == "idle" else 8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


def arenas(mode: str) -> int:
    listing = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True
    ).stdout
    return listing.count("<heap ")


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="the C library is not glibc"
)
def test_threads_share_a_few_pools() -> None:
    idle = arenas("idle")  # threads that are started as rclpy is imported have theirs already
    assert arenas("usual") > max(ARENAS, idle)
    assert 1 <= arenas("few") <= max(ARENAS, idle)


def test_with_another_simulated_c_library_there_is_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[object] = []

    def other_library(name: None) -> object:
        opened.append(name)
        return object()

    monkeypatch.setattr("referdino_ros.process.ctypes.CDLL", other_library)
    use_few_arenas()
    assert opened == [None]
