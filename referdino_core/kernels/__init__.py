# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The fused CPU kernels: C++ sources, the command that builds them, and their loader.

They are built several times, for any processor and for newer ones; the fastest library that this
processor can run is used. Libraries are optional. Where there is none, everything works through
the portable PyTorch version of each operator, and one line in the log says so.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.kernels.cpu import FusedKernel

__all__ = ["BUILD_COMMAND", "FusedKernel", "fused_kernel", "kernel_status"]

BUILD_COMMAND = "python -m referdino_core.kernels.build"

_log = logging.getLogger("referdino.kernels")

# What builds the libraries needs no PyTorch.
if not TYPE_CHECKING:  # or a misspelt name would pass
    __getattr__ = lazy_names(__name__, {"FusedKernel": "cpu"})


@functools.cache
def fused_kernel() -> FusedKernel | None:
    """The fused CPU kernels, or None, with one line in the log, where they are not to be had."""
    from referdino_core.kernels.cpu import FusedKernel
    from referdino_core.kernels.loading import OtherProcessorError, libraries

    kernel: FusedKernel | None = None
    damage: OSError | None = None
    refusal: OSError | None = None
    for path in libraries():
        try:
            kernel = FusedKernel(path)
            break
        except OtherProcessorError as error:
            refusal = refusal or error
        except OSError as error:
            damage = damage or error
    complaint = damage or (None if kernel else refusal)
    if complaint is not None:
        _log.warning(
            "the fused CPU kernel cannot be loaded (%s): using %s (build it again with: %s)",
            " ".join(str(complaint).split()),
            kernel.path.name if kernel else "the slower portable version",
            BUILD_COMMAND,
        )
    elif kernel is None:
        _log.warning(
            "the fused CPU kernel is not built: using the slower portable version "
            "(build it with: %s)",
            BUILD_COMMAND,
        )
    return kernel


def kernel_status() -> str:
    """One line for people: which fused CPU kernel is in use, or if none, how to get it."""
    from referdino_core.kernels.loading import libraries

    kernel = fused_kernel()
    if kernel is not None:
        return f"fused ({kernel.path.name})"
    reason = "cannot be loaded" if libraries() else "not built"
    return f"portable (the fused kernel is {reason}; build it with: {BUILD_COMMAND})"
