# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Prints the dependencies that a pyproject.toml declares: its path, then the extras to include."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
for requirement in project["dependencies"]:
    print(requirement)
for extra in sys.argv[2:]:
    for requirement in project["optional-dependencies"][extra]:
        print(requirement)
