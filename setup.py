# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the fused CPU kernel for `pip install .`, without ROS; CMakeLists.txt does it with ROS."""

from __future__ import annotations

import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Not every compiler knows the machine's CPU or brings OpenMP: the first that works is used.
TUNINGS = (["-fopenmp", "-march=native"], ["-fopenmp"], [])


class BuildKernel(build_ext):
    """Builds a plain shared library, which is optional and is loaded through ctypes."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library's path without Python's suffix: it does not depend on the Python release."""
        return fullname.replace(".", "/") + ".so"

    def build_extension(self, extension: Extension) -> None:
        """Try one tuning after the other; where none works one line says so."""
        for tuning in TUNINGS:
            extension.extra_compile_args = ["-std=c++17", "-O3", "-fvisibility=hidden", *tuning]
            extension.extra_link_args = tuning
            try:
                super().build_extension(extension)
                return
            except Exception as error:
                complaint = error
        print(
            f"the fused CPU kernel cannot be built, the portable version will be used: {complaint}",
            file=sys.stderr,
        )


setup(
    ext_modules=[
        Extension(
            "referdino_core.kernels.libreferdino_kernels",
            sorted(glob("referdino_core/kernels/*.cpp")),
            depends=sorted(glob("referdino_core/kernels/*.h")),
            optional=True,
        )
    ],
    cmdclass={"build_ext": BuildKernel},
)
