# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the fused CPU kernels beside their source: ``python -m referdino_core.kernels.build``.

The compiler is ``$CXX`` or else the first of c++, g++ and clang++. The library is tuned for the CPU
of the machine that builds it, and stays there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from referdino_core.errors import ReferDINOError

__all__ = ["KernelBuildError", "build", "main"]

_SOURCE = Path(__file__).with_name("deformable_attention.cpp")
_LIBRARY_NAME = "libreferdino_kernels.so"
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden")
# Tried in this order: not every compiler knows the machine's CPU or brings OpenMP.
_TUNINGS = (("-fopenmp", "-march=native"), ("-fopenmp",), ())


class KernelBuildError(ReferDINOError):
    """The fused CPU kernels cannot be built here; the portable version stays in use."""


def build(folder: Path = _SOURCE.parent) -> tuple[Path, str]:
    """Compile the kernels into ``folder``.

    A library that running processes have loaded is replaced, not overwritten: they keep theirs.

    Returns:
        The library's path and the tuning flags that the compiler accepted.

    Raises:
        KernelBuildError: no C++ compiler, one that fails, or a folder that cannot be written.
    """
    compiler = _find_compiler()
    library = folder / _LIBRARY_NAME
    try:
        with tempfile.TemporaryDirectory(prefix=".kernels-", dir=folder) as workspace:
            fresh = Path(workspace) / _LIBRARY_NAME
            tuning = _compile(compiler, fresh)
            os.replace(fresh, library)
    except OSError as error:
        raise KernelBuildError(f"the fused CPU kernel cannot be built: {error}") from error
    return library, " ".join(tuning)


def _find_compiler() -> list[str]:
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen:
        if shutil.which(chosen[0]) is None:
            raise KernelBuildError(
                f"the fused CPU kernel cannot be built: CXX names {chosen[0]!r}, which is not found"
            )
        return chosen
    for name in _COMPILERS:
        if shutil.which(name) is not None:
            return [name]
    raise KernelBuildError(
        "the fused CPU kernel cannot be built: no C++ compiler found "
        "(install one, for example with: sudo apt install g++; or set CXX)"
    )


def _compile(compiler: list[str], target: Path) -> tuple[str, ...]:
    complaint = ""
    for tuning in _TUNINGS:
        command = [*compiler, *_FLAGS, *tuning, str(_SOURCE), "-o", str(target)]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode == 0:
            return tuning
        lines = [line.strip() for line in outcome.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line]
        complaint = (errors or lines or [f"exit status {outcome.returncode}"])[0]
    raise KernelBuildError(
        f"the fused CPU kernel cannot be built: {shlex.join(compiler)} failed: {complaint}"
    )


def main() -> int:
    """Build in place and say so; where that fails, one line on stderr and exit status 1."""
    print("building the fused CPU kernel ...", flush=True)
    try:
        library, tuning = build()
    except KernelBuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"built {library} ({tuning or 'no OpenMP: one thread'})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
