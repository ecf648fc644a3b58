# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the CMake files of the ROS wheels name folders of this machine.

They name the include folders of Python and NumPy on the machine that built the wheels, which do not
exist here, so that CMake refuses to use them. Runs with the Python of the virtual environment.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

FOLDERS = (
    (re.compile(r'/opt/python/[^;"]*/numpy/_core/include'), numpy.get_include()),
    (re.compile(r'/opt/python/[^;"/]*/include/python3\.\d+'), sysconfig.get_paths()["include"]),
)


def corrected(text: str) -> str:
    """The text of a CMake file with both folders replaced."""
    for built_with, here in FOLDERS:
        text = here.join(built_with.split(text))
    return text


for path in Path(sys.prefix, "share").rglob("*.cmake"):
    text = path.read_text()
    if corrected(text) != text:
        path.write_text(corrected(text))
