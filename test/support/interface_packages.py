# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Packages of messages with documented fields, built where ROS does not bring them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
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
foreach(dependency {dependencies})
  find_package(${{dependency}} REQUIRED)
endforeach()
# Python uses nothing of what is generated for C++; on Humble the C type support depends on it.
if(NOT "$ENV{{ROS_DISTRO}}" STREQUAL "humble")
  list(FILTER AMENT_EXTENSIONS_rosidl_generate_idl_interfaces EXCLUDE REGEX "_cpp:")
endif()
rosidl_generate_interfaces(${{PROJECT_NAME}} {interfaces} DEPENDENCIES {dependencies})
# One translation unit: most of its compilation is the same headers over and over.
set_target_properties(${{PROJECT_NAME}}__rosidl_typesupport_fastrtps_c PROPERTIES
  UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
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
  {depend}
  <exec_depend>rosidl_default_runtime</exec_depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""


def built_interfaces(folder: str, config: pytest.Config, package: str | None = None) -> Path | None:
    """Prefix under which a package of `interfaces/` is installed; None where ROS brings it.

    Built for Python alone, with a package.xml and a CMakeLists.txt from here, and kept in pytest's
    cache while all that and Python stay what they are.

    Args:
        folder: in test/support/interfaces.
        package: its name in ROS where that is another.
    """
    package = package or folder
    if importlib.util.find_spec(package) is not None:
        return None
    assert config.cache is not None
    sources = INTERFACES / folder
    digest = hashlib.sha256(f"{sys.prefix} {sys.version} {_CMAKE} {_MANIFEST}".encode())
    for source in sorted(path for path in sources.rglob("*") if path.is_file()):
        digest.update(source.name.encode() + source.read_bytes())
    home = config.cache.mkdir(folder)
    prefix = home / digest.hexdigest()[:16]
    if (prefix / "complete").exists():
        return prefix
    shutil.rmtree(home)
    tree = home / "source"
    shutil.copytree(sources, tree)
    interfaces = sorted(path for path in tree.rglob("*") if path.is_file())
    fields = "\n".join(path.read_text() for path in interfaces)
    dependencies = sorted(set(re.findall(r"^(\w+)/", fields, re.MULTILINE)) - {package})
    filled = {
        "package": package,
        "interfaces": " ".join(str(path.relative_to(tree)) for path in interfaces),
        "dependencies": " ".join(dependencies),
        "depend": "".join(f"<depend>{name}</depend>" for name in dependencies),
    }
    (tree / "CMakeLists.txt").write_text(_CMAKE.format(**filled))
    (tree / "package.xml").write_text(_MANIFEST.format(**filled))
    build = home / "build"
    build.mkdir()
    environment = ros_environment() | {
        "CMAKE_PREFIX_PATH": os.pathsep.join(
            [sys.prefix, *filter(None, [os.environ.get("CMAKE_PREFIX_PATH")])]
        ),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
    }
    # Ninja runs fewer processes than Make.
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    options = [*generator, "-DPython3_FIND_VIRTUALENV=ONLY", "-DBUILD_TESTING=OFF"]
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
