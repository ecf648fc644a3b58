# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Packages of messages with documented fields, built where ROS does not bring them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import INTERFACES
from ros_harness import ros_environment


def built_interfaces(package: str, config: pytest.Config) -> Path | None:
    """Prefix under which a package of `interfaces/` is installed; None where ROS brings it.

    Built once and kept in pytest's cache while sources and Python stay what they are.
    """
    if importlib.util.find_spec(package) is not None:
        return None
    assert config.cache is not None
    folder = config.cache.mkdir(package)
    sources = INTERFACES / package
    digest = hashlib.sha256(f"{sys.prefix} {sys.version}".encode())
    for source in sorted(sources.rglob("*.*")):
        if source.is_file():
            digest.update(source.read_bytes())
    prefix = folder / digest.hexdigest()[:16]
    if (prefix / "complete").exists():
        return prefix
    shutil.rmtree(folder)
    build = folder / "build"
    build.mkdir(parents=True)
    environment = ros_environment() | {
        "CMAKE_PREFIX_PATH": os.pathsep.join(
            [sys.prefix, *filter(None, [os.environ.get("CMAKE_PREFIX_PATH")])]
        ),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
    }
    options = ["-DPython3_FIND_VIRTUALENV=ONLY", "-DBUILD_TESTING=OFF"]
    for command in (
        ["cmake", str(sources), f"-DCMAKE_INSTALL_PREFIX={prefix}", *options],
        ["cmake", "--build", ".", "--parallel", "2"],
        ["cmake", "--install", "."],
    ):
        done = subprocess.run(
            command, cwd=build, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (prefix / "complete").touch()
    return prefix
