# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The fused CPU kernels: C++ sources, the command that builds them, and their loader.

The library is optional. Where it is not built, everything works through the portable PyTorch
version of each operator, and one line in the log says so.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

from referdino_core.kernels.cpu import FusedKernel

__all__ = ["BUILD_COMMAND", "LIBRARY_PATH", "FusedKernel", "fused_kernel", "kernel_status"]

LIBRARY_PATH = Path(__file__).with_name("libreferdino_kernels.so")
BUILD_COMMAND = "python -m referdino_core.kernels.build"

_log = logging.getLogger("referdino.kernels")


@functools.cache
def fused_kernel() -> FusedKernel | None:
    """The fused CPU kernels, or None, with one line in the log, where they are not to be had."""
    if not LIBRARY_PATH.exists():
        _log.warning(
            "the fused CPU kernel is not built: using the slower portable version "
            "(build it with: %s)",
            BUILD_COMMAND,
        )
        return None
    try:
        return FusedKernel(LIBRARY_PATH)
    except OSError as error:
        _log.warning(
            "the fused CPU kernel cannot be loaded (%s): using the slower portable version "
            "(build it again with: %s)",
            " ".join(str(error).split()),
            BUILD_COMMAND,
        )
        return None


def kernel_status() -> str:
    """One line for people: whether the fused CPU kernel is in use, and if not, how to get it."""
    if fused_kernel() is not None:
        return "fused"
    reason = "cannot be loaded" if LIBRARY_PATH.exists() else "not built"
    return f"portable (the fused kernel is {reason}; build it with: {BUILD_COMMAND})"
