# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the fused CPU kernels for `pip install .`, without ROS; with ROS CMakeLists.txt does."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

REPOSITORY = Path(__file__).resolve().parent
OPERATORS = REPOSITORY / "referdino_core" / "ops"

sys.path.insert(0, str(REPOSITORY))
from referdino_core.ops.build import KernelBuildError, build  # noqa: E402


class BuildKernels(build_ext):
    """Builds plain shared libraries, which are optional and are loaded through ctypes."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library's path without Python's suffix: it does not depend on the Python release."""
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, extension: Extension) -> None:
        """Build the libraries for all processors; where that fails one line says so."""
        self.built: list[Path] = []
        folder = Path(self.get_ext_fullpath(extension.name)).parent
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self.built = list(build(folder))
        except KernelBuildError as error:
            print(f"{error}; the portable version will be used", file=sys.stderr)

    def copy_extensions_to_source(self) -> None:
        """Put the libraries where an editable installation finds them."""
        for library in self.built:
            shutil.copy(library, OPERATORS)


setup(
    ext_modules=[
        Extension(
            "referdino_core.ops.libreferdino_kernels",
            sorted(str(path.relative_to(REPOSITORY)) for path in OPERATORS.glob("csrc/*.cpp")),
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
