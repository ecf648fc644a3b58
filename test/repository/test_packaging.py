# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The package as its users get it: built with colcon, installed by `make`, built as a wheel."""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import ros_harness
from referdino.msg import Command, ReferredObjectArray
from referdino.srv import SetCommands
from repository import REPOSITORY
from sensor_msgs.msg import Image

import referdino_core
import referdino_ros
from referdino_core.ops.loading import libraries, requirements

SET_UP = REPOSITORY / "setup" / "prepare.py"
SITE_PACKAGES = Path("lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
LIMIT = 600
"""Seconds that a command may take on a busy machine."""

# Building the messages keeps two idle cores busy for half a minute.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * LIMIT)]


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command that has to succeed."""
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, **options)
    assert outcome.returncode == 0, f"{command}:\n{outcome.stdout}\n{outcome.stderr}"
    return outcome


def source_files(*packages: str) -> set[str]:
    """The files of Python packages that belong to the repository, relative to it."""
    listing = run("git", "ls-files", "-co", "--exclude-standard", *packages, cwd=REPOSITORY)
    return {path for path in listing.stdout.splitlines() if (REPOSITORY / path).exists()}


def copy_sources(paths: Iterable[str], folder: Path) -> None:
    """Copy files of the repository, as a fresh clone would hold them."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, folder / path)


@pytest.fixture(scope="module")
def unoptimised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that starts a compiler without optimisation, which takes half of the build's time.

    Set-up compiles the same sources with the flags that users get.
    """
    launcher = tmp_path_factory.mktemp("compiler") / "unoptimised"
    launcher.write_text('#!/bin/sh\nexec "$@" -O0\n')
    launcher.chmod(0o755)
    return launcher


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, unoptimised: Path) -> Path:
    """A colcon workspace in which this package is built and installed."""
    folder = tmp_path_factory.mktemp("workspace")
    copy_sources(source_files(), folder / "src" / "referdino")
    prefixes = os.pathsep.join(filter(None, [sys.prefix, os.environ.get("AMENT_PREFIX_PATH")]))
    environment = os.environ | {
        "AMENT_PREFIX_PATH": prefixes,
        "CMAKE_C_COMPILER_LAUNCHER": str(unoptimised),
        "CMAKE_CXX_COMPILER_LAUNCHER": str(unoptimised),
        "CMAKE_PREFIX_PATH": prefixes,
        "COLCON_HOME": str(folder / "colcon"),
        "PATH": f"{sys.prefix}/bin{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
    }
    colcon = [sys.executable, "-m", "colcon", "build", "--cmake-args", "-DBUILD_TESTING=OFF"]
    run(*colcon, cwd=folder, env=environment)
    return folder


@pytest.fixture(scope="module")
def sourced(workspace: Path) -> dict[str, str]:
    """What a shell that sourced the workspace on top of its ROS hands to the programs it starts."""
    bare = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    bare |= {"PATH": os.defpath, "AMENT_PREFIX_PATH": sys.prefix}
    script = f'source "{workspace}/install/setup.bash" && env -0'
    listing = run("bash", "-c", script, env=bare).stdout
    environment = dict(entry.split("=", 1) for entry in listing.split("\0") if entry)
    return environment | {
        "ROS_DOMAIN_ID": str(ros_harness.domain_id()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }


def test_colcon_installs_every_source_and_data_file(workspace: Path) -> None:
    installed = workspace / "install" / "referdino"
    missing = [
        path
        for path in sorted(source_files("referdino_core", "referdino_ros"))
        if not (installed / SITE_PACKAGES / path).is_file()
    ]
    assert not missing
    for path in source_files("action", "launch", "config", "msg", "srv", "package.xml"):
        assert (installed / "share" / "referdino" / path).read_bytes() == (
            REPOSITORY / path
        ).read_bytes()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="libraries are for x86-64")
def test_kernels_that_colcon_builds_run_on_other_machines(workspace: Path) -> None:
    kernels = workspace / "install" / "referdino" / SITE_PACKAGES / "referdino_core" / "ops"
    needs = {path.name: requirements(path) for path in kernels.glob("libreferdino_kernels*.so")}
    assert needs == {path.name: requirements(path) for path in libraries()}
    assert needs["libreferdino_kernels.so"] == ()


def test_sourced_workspace_is_found_by_standard_tools(
    workspace: Path, sourced: dict[str, str]
) -> None:
    installed = workspace / "install" / "referdino"
    program = "\n".join(
        [
            "from ament_index_python import get_package_prefix, get_resource",
            "import referdino.msg, referdino_core.ops.library, referdino_ros",
            "print(get_package_prefix('referdino'))",
            "print(referdino.msg.__file__, referdino_core.__file__, referdino_ros.__file__)",
            "print(referdino_core.ops.library.kernel_status())",
            "print(get_resource('rosidl_interfaces', 'referdino')[0])",
        ]
    )
    lines = run(sys.executable, "-c", program, env=sourced, cwd=workspace).stdout.splitlines()
    assert lines[0] == str(installed)
    assert all(Path(path).is_relative_to(installed) for path in lines[1].split())
    assert lines[2].startswith("fused (")
    assert {"msg/ReferredObjectArray.msg", "srv/SetCommands.srv"} <= set(lines[3:])


def test_node_of_the_installed_workspace_answers_an_image(
    workspace: Path, sourced: dict[str, str]
) -> None:
    installed = workspace / "install" / "referdino"
    executable = installed / "lib" / "referdino" / "referdino_node"
    parameters = installed / "share" / "referdino" / "config" / "referdino.yaml"
    node = subprocess.Popen(
        [executable, "--ros-args", "--params-file", parameters],
        env=sourced,
        cwd=workspace,
    )
    client = ros_harness.Client()
    try:
        objects = client.collect(ReferredObjectArray, "/referdino/objects")
        camera = client.publisher(Image, "/image_raw")
        request = SetCommands.Request()
        request.set = [Command(id="ball", text="the red ball")]
        response = client.call(SetCommands, "/referdino/set_commands", request)
        assert response.success, response.message
        image = ros_harness.image_message(ros_harness.picture())
        answer = ros_harness.Camera(client, camera, objects).ask(image)
    finally:
        client.close()
        node.send_signal(signal.SIGINT)
        status = node.wait(LIMIT)
    assert status == 0
    assert answer.header.frame_id == image.header.frame_id
    assert [(found.command_id, found.command) for found in answer.objects] == [
        ("ball", "the red ball")
    ]


def test_installed_command_line_is_on_the_path(workspace: Path, sourced: dict[str, str]) -> None:
    program = shutil.which("referdino", path=sourced["PATH"])
    assert program is not None
    assert Path(program).is_relative_to(workspace / "install" / "referdino")
    assert "nano" in run(program, "info", env=sourced, cwd=workspace).stdout


def test_environment_runs_the_sources_of_this_repository() -> None:
    """What is installed in the environment are links: no stale copy can hide an edit."""
    for package in (referdino_core, referdino_ros):
        installed = Path(sysconfig.get_path("purelib"), package.__name__)
        for path in source_files(package.__name__):
            linked = installed.parent / path
            assert linked.resolve() == (REPOSITORY / path).resolve(), "run: make setup"
        stale = [link for link in installed.rglob("*") if link.is_symlink() and not link.exists()]
        assert not stale


def test_second_set_up_does_nothing_and_needs_no_network() -> None:
    nowhere = {"PIP_NO_INDEX": "1", "PIP_INDEX_URL": "http://localhost:9/"}
    outcome = run(sys.executable, SET_UP, env=os.environ | nowhere)
    assert (outcome.stdout, outcome.stderr) == ("", "")


def test_set_up_names_the_tool_that_a_bare_machine_lacks(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(SET_UP.parent, clone / "setup")
    outcome = subprocess.run(
        [sys.executable, clone / "setup" / "prepare.py"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    assert re.fullmatch(r"set-up: cmake is not found: .*apt install cmake\n", outcome.stderr)


def test_set_up_refuses_a_folder_with_a_space_in_its_name(tmp_path: Path) -> None:
    clone = tmp_path / "my robot"
    shutil.copytree(SET_UP.parent, clone / "setup")
    outcome = subprocess.run(
        [sys.executable, clone / "setup" / "prepare.py"],
        env=os.environ | {"AMENT_PREFIX_PATH": ""},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    assert re.fullmatch(r"set-up: .*my robot has a space in its name, .*\n", outcome.stderr)


def test_set_up_refuses_a_sourced_ros_of_another_python(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), SET_UP],
        env=os.environ | {"AMENT_PREFIX_PATH": str(tmp_path), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 1
    assert str(tmp_path) in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("compiler", ["c++", "false"])
def test_wheel_without_ros_holds_core_data_and_kernel_if_it_can(
    tmp_path: Path, unoptimised: Path, compiler: str
) -> None:
    sources = source_files("referdino_core")
    copy_sources({*sources, "pyproject.toml", "setup.py", "README.md", "LICENSE"}, tmp_path)
    command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", "wheels", "."]
    environment = os.environ | {"CC": compiler, "CXX": f"{unoptimised} {compiler}"}
    outcome = run(*command, cwd=tmp_path, env=environment)
    [wheel] = (tmp_path / "wheels").iterdir()
    contents = set(zipfile.ZipFile(wheel).namelist())
    assert sources <= contents
    declared = json.loads((REPOSITORY / "referdino_core/ops/variants.json").read_text())
    names = {f"referdino_core/ops/lib{one['library']}.so" for one in declared["variants"]}
    built = {name for name in contents if name.endswith(".so")}
    assert built == (names if compiler == "c++" else set())
    assert ("the fused CPU kernel cannot be built" in outcome.stderr) == (compiler == "false")


def test_package_xml_names_what_is_imported() -> None:
    keys = {"cv2": "python3-opencv", "yaml": "python3-yaml", "tqdm": "python3-tqdm"}
    keys |= {"numpy": "python3-numpy", "scipy": "python3-scipy"}
    # Without a key of rosdep, or with one of releases that are too old; its comment names them.
    from_pip = {"av", "pycocotools", "safetensors", "tokenizers", "torch"}
    # Extras of pyproject.toml, and what they bring.
    optional = {"h5py", "jinja2", "mujoco", "onnx", "onnxruntime", "ray", "rosbags", "tensorrt"}
    optional |= {"backports", "compression", "lz4", "tensorrt_rtx", "transformers"}
    paths = [*(REPOSITORY / "launch").glob("*.py")]
    for package in (referdino_core, referdino_ros):
        paths += Path(package.__path__[0]).rglob("*.py")
    imported = {name for path in paths for name in imported_packages(path)}
    ours = {"referdino", "referdino_core", "referdino_ros"}
    outside = imported - sys.stdlib_module_names - ours - optional
    description = REPOSITORY / "package.xml"
    tags = ("depend", "exec_depend")
    root = ElementTree.parse(description).getroot()
    named = {element.text for tag in tags for element in root.iter(tag)}
    assert {"ament_index_python", "rclpy", "torch", "numpy"} <= outside
    assert {keys.get(name, name) for name in outside - from_pip} <= named
    [told] = re.findall(r"<!--(.*?)-->", description.read_text(), re.DOTALL)
    assert from_pip <= set(re.findall(r"\w+", told))


def imported_packages(path: Path) -> set[str]:
    """First names of the modules that a file imports."""
    modules: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.append(node.module)
    return {module.split(".")[0] for module in modules}


def test_one_version_everywhere() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text()
    declared = re.search(r'^version = "(.+?)"', pyproject, re.MULTILINE)
    assert declared is not None
    assert ElementTree.parse(REPOSITORY / "package.xml").findtext("version") == declared[1]


def test_continuous_integration_runs_what_the_readme_says() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    told = {line.split("#")[0].strip() for block in blocks for line in block.splitlines()}
    script = (REPOSITORY / ".ci" / "run").read_text()
    always = re.sub(r"^if .*?^fi$", "", script, flags=re.MULTILINE | re.DOTALL).splitlines()
    called = [line for line in always if line and not line.startswith(("#", "set ", "cd "))]
    assert called == ["make test"]
    assert {"make test", "make demo"} <= told
