# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of CPU kernel libraries, which refuses those that this processor cannot run.

A library's file lists the processor features that its code uses. The list is read before any code
of the library runs, since an unsupported instruction would end the process. The processor's
features are queried through the library for any processor, which asks the processor itself and
checks that the operating system supports the feature: /proc/cpuinfo does not exist everywhere, and
describes another processor under an emulator.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from pathlib import Path

# PyTorch is imported first on purpose: the library then resolves to its OpenMP runtime, and both
# share one pool of threads.
import torch  # noqa: F401

__all__ = ["OtherProcessorError", "libraries", "open_library", "requirements"]

VERSION = 8

# If the package is installed as links to its sources, the libraries are next to the sources.
FOLDER = Path(__file__).resolve().parent
ANY_PROCESSORS_LIBRARY = FOLDER / "libreferdino_kernels.so"

_REQUIREMENTS = re.compile(rb"referdino kernels, version (\d+), need:([ \w]*);")
_MAX_NAMED = 4
"""Features that a message names, the newest ones."""


class OtherProcessorError(OSError):
    """A library uses features that this processor or its operating system lacks."""


def libraries() -> list[Path]:
    """The built libraries, those with the most requirements first.

    Unreadable and invalid files come before all others.
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
            f"{ANY_PROCESSORS_LIBRARY.name} for any processor to check whether this one has it"
        )
    lacking = [feature for feature in needed if not _processor_has(feature)]
    if lacking:
        raise OtherProcessorError(
            f"{path.name} is built for a processor with {_named(lacking)}, which this one lacks"
        )
    return ctypes.CDLL(str(path))


def requirements(path: Path) -> tuple[str, ...]:
    """Features that a library requires, named as in Linux's /proc/cpuinfo.

    Raises:
        OSError: the file cannot be read, or is not a library of this version of the kernels.
    """
    found = _REQUIREMENTS.search(path.read_bytes())
    if found is None:
        raise OSError(f"{path.name} is not a library of referdino's kernels, or is outdated")
    if int(found[1]) != VERSION:
        raise OSError(f"{path.name} was built from version {int(found[1])} of its sources")
    return tuple(found[2].decode().split())


def _demand(path: Path) -> float:
    try:
        return len(requirements(path))
    except OSError:
        return float("inf")


def _named(features: Sequence[str]) -> str:
    return ", ".join(features[-_MAX_NAMED:]) + (" and more" if len(features) > _MAX_NAMED else "")


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
