# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Loads libraries of CPU kernels, and refuses those that this processor cannot run.

A library's file says which of a processor's features its code makes use of. It is read before
anything of the library runs: one instruction that the processor lacks ends the process. What the
processor has is asked of the library that is built for every processor of its kind, whose code
asks the processor itself and whether the operating system lets programs use the feature:
/proc/cpuinfo is not there everywhere, and under an emulator shows another processor.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from pathlib import Path

# PyTorch comes first on purpose: its OpenMP runtime is then the one that the library resolves to,
# and both share one pool of threads.
import torch  # noqa: F401

__all__ = ["OtherProcessorError", "libraries", "open_library", "requirements"]

VERSION = 8

# Where the package is installed as links to its sources, the libraries are beside those.
FOLDER = Path(__file__).resolve().parent
ANY_PROCESSORS_LIBRARY = FOLDER / "libreferdino_kernels.so"

_REQUIREMENTS = re.compile(rb"referdino kernels, version (\d+), need:([ \w]*);")
_NAMED = 4
"""Features that a message names at most: the newest, since those come last."""


class OtherProcessorError(OSError):
    """A library makes use of features that this processor or its operating system lacks."""


def libraries() -> list[Path]:
    """The libraries that are built, those that ask most of a processor first.

    One whose file cannot be read, or is no library, comes before all others.
    """
    return sorted(FOLDER.glob("libreferdino_kernels*.so"), key=_demand, reverse=True)


def open_library(path: Path) -> ctypes.CDLL:
    """Load a library.

    Raises:
        OtherProcessorError: it is built for another processor; none of its code has run.
        OSError: it cannot be loaded, or is built from other sources.
    """
    needed = requirements(path)
    if needed and _any_processors_library() is None:
        raise OtherProcessorError(
            f"{path.name} is built for a processor with {_named(needed)}, and there is no "
            f"{ANY_PROCESSORS_LIBRARY.name} for any processor that tells whether this one has it"
        )
    lacking = [feature for feature in needed if not _processor_has(feature)]
    if lacking:
        raise OtherProcessorError(
            f"{path.name} is built for a processor with {_named(lacking)}, which this one lacks"
        )
    return ctypes.CDLL(str(path))


def requirements(path: Path) -> tuple[str, ...]:
    """Features that a library needs, named as in Linux's /proc/cpuinfo.

    Raises:
        OSError: it cannot be read, or is no library of this version of the kernels.
    """
    found = _REQUIREMENTS.search(path.read_bytes())
    if found is None:
        raise OSError(f"{path.name} is no library of referdino's kernels, or of older ones")
    if int(found[1]) != VERSION:
        raise OSError(f"{path.name} was built from version {int(found[1])} of its sources")
    return tuple(found[2].decode().split())


def _demand(path: Path) -> float:
    try:
        return len(requirements(path))
    except OSError:
        return float("inf")


def _named(features: Sequence[str]) -> str:
    return ", ".join(features[-_NAMED:]) + (" and more" if len(features) > _NAMED else "")


@functools.cache
def _processor_has(feature: str) -> bool:
    library = _any_processors_library()
    return library is not None and bool(library.referdino_processor_has(feature.encode()))


@functools.cache
def _any_processors_library() -> ctypes.CDLL | None:
    path = ANY_PROCESSORS_LIBRARY
    if not path.exists() or requirements(path):
        return None
    return ctypes.CDLL(str(path))
