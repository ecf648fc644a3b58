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

_CMAKE = """\
cmake_minimum_required(VERSION 3.16)
project({package} LANGUAGES C CXX)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(std_msgs REQUIRED)
rosidl_generate_interfaces(${{PROJECT_NAME}} {messages} DEPENDENCIES std_msgs)
foreach(support typesupport_cpp typesupport_fastrtps_c typesupport_fastrtps_cpp)
  set_target_properties(${{PROJECT_NAME}}__rosidl_${{support}} PROPERTIES
    UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
endforeach()
ament_package()
"""
_MANIFEST = """\
<?xml version="1.0"?>
<package format="3">
  <name>{package}</name>
  <version>0.0.0</version>
  <description>Stand-in for tests, with the documented fields.</description>
  <maintainer email="maintainers@referdino.example">The referdino authors</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
  <depend>std_msgs</depend>
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""


def built_interfaces(folder: str, config: pytest.Config, package: str | None = None) -> Path | None:
    """Prefix under which a package of `interfaces/` is installed; None where ROS brings it.

    Built once and kept in pytest's cache while sources and Python stay what they are. A folder of
    messages alone gets its package.xml and CMakeLists.txt here; the messages may use std_msgs.

    Args:
        folder: in test/support/interfaces.
        package: its name in ROS where that is another.
    """
    package = package or folder
    if importlib.util.find_spec(package) is not None:
        return None
    assert config.cache is not None
    sources = INTERFACES / folder
    digest = hashlib.sha256(f"{sys.prefix} {sys.version}".encode())
    for source in sorted(path for path in sources.rglob("*") if path.is_file()):
        digest.update(source.name.encode() + source.read_bytes())
    home = config.cache.mkdir(folder)
    prefix = home / digest.hexdigest()[:16]
    if (prefix / "complete").exists():
        return prefix
    shutil.rmtree(home)
    tree = home / "source"
    shutil.copytree(sources, tree)
    if not (tree / "CMakeLists.txt").exists():
        messages = " ".join(f"msg/{path.name}" for path in sorted(tree.glob("msg/*.msg")))
        (tree / "CMakeLists.txt").write_text(_CMAKE.format(package=package, messages=messages))
        (tree / "package.xml").write_text(_MANIFEST.format(package=package))
    build = home / "build"
    build.mkdir()
    environment = ros_environment() | {
        "CMAKE_PREFIX_PATH": os.pathsep.join(
            [sys.prefix, *filter(None, [os.environ.get("CMAKE_PREFIX_PATH")])]
        ),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
    }
    options = ["-DPython3_FIND_VIRTUALENV=ONLY", "-DBUILD_TESTING=OFF"]
    for command in (
        ["cmake", str(tree), f"-DCMAKE_INSTALL_PREFIX={prefix}", *options],
        ["cmake", "--build", ".", "--parallel", "2"],
        ["cmake", "--install", "."],
    ):
        done = subprocess.run(
            command, cwd=build, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (prefix / "complete").touch()
    return prefix
