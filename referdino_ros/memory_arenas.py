# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the memory of a process with many threads flat."""

from __future__ import annotations

import ctypes

ARENAS = 2
_M_ARENA_MAX = -8  # of malloc.h


def use_few_arenas() -> None:
    """Let the threads of this process share a few pools of memory; call it before they start.

    By default glibc gives each thread a pool of its own. What images and commands that come and go
    leave free in one is of no use to the others: a node with three cameras grew by 130 MB in an
    hour (benchmarks/soak.py). With another C library there is nothing to do.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(ARENAS))
