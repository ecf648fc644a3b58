# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Copies of the package whose kernels may be anything, and programs that load them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import referdino_core
from referdino_core.ops import BUILD_COMMAND
from referdino_core.ops.loading import ANY_PROCESSORS_LIBRARY, FOLDER

PACKAGE = Path(referdino_core.__file__).parent

# In processes of its own: a library, once loaded, stays for a process's life.
CALL_TWICE = """
import logging
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
import torch
from referdino_core.ops.library import kernel_library, kernel_status
from referdino_core.ops import deformable_attention as attention
torch.manual_seed(0)
value, locations = torch.randn(1, 20, 2, 16), torch.rand(1, 3, 2, 1, 4, 2)
inputs = (value, ((4, 5),), locations, torch.rand(1, 3, 2, 1, 4))
first = attention.multi_scale_deformable_attention(*inputs)
second = attention.multi_scale_deformable_attention(*inputs)
torch.testing.assert_close(first, attention.portable_deformable_attention(*inputs))
assert torch.equal(first, second)
print(attention.__file__)
print(kernel_library() is None)
print(kernel_status())
"""


def package_without_libraries(folder: Path) -> Path:
    """The parts of the package that deformable attention needs, copied into a folder."""
    copy = folder / PACKAGE.name
    shutil.copytree(FOLDER, copy / "ops", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(PACKAGE / "errors.py", copy / "errors.py")
    (copy / "__init__.py").touch()
    return copy


def library_of(package: Path) -> Path:
    """Where a package has its library for any processor."""
    return package / "ops" / ANY_PROCESSORS_LIBRARY.name


def run_python(arguments: list[str], package: Path) -> subprocess.CompletedProcess[str]:
    """A Python process that finds the copy of the package."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def call_twice(package: Path) -> tuple[bool, str, list[str]]:
    """Call the operator in a process of its own.

    Returns:
        Whether the portable version did it; the kernels' status; the lines of referdino's log.
    """
    outcome = run_python(["-c", CALL_TWICE], package)
    assert outcome.returncode == 0, f"{outcome.returncode}: {outcome.stderr}"
    home, is_portable, status = outcome.stdout.splitlines()
    assert Path(home).parent == package / "ops"
    lines = [line for line in outcome.stderr.splitlines() if "referdino" in line]
    return is_portable == "True", status, lines


def assert_falls_back(package: Path, reason: str, status: str) -> None:
    """The portable version works, and one line says why and what to do."""
    is_portable, told, lines = call_twice(package)
    assert is_portable
    assert status in told and BUILD_COMMAND in told
    assert len(lines) == 1, lines
    assert reason in lines[0] and BUILD_COMMAND in lines[0] and "portable" in lines[0]


def cpp_compiler() -> str:
    """The machine's C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "these tests need a C++ compiler"
    return compiler


def compile_library(library: Path, source: str, *more: str | Path) -> bool:
    """Compile a source and perhaps others; False where the compiler does not know the flags."""
    code = library.with_suffix(".cpp")
    code.write_text(source, encoding="utf-8")
    command = [cpp_compiler(), "-std=c++17", "-shared", "-fPIC", code, *more, "-o", library]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
