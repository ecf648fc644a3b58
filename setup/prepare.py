# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sets up what the demos or the tests need, in the folder `.venv` of this repository.

Runs before anything is installed, so it uses the standard library alone. Each stage leaves a stamp
of its inputs: a stage whose inputs have not changed is skipped, so that a second run is a matter of
a second and needs no network. Purposes add up: what was installed for one stays for the next.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine_packages import (
    environment_without_own,
    installed,
    machine_pytorch,
    note_own_pytorch,
    numpy_constraints,
    outside_environment,
    pytorch_constraint,
    share_pytorch,
)
from running import (
    ENVIRONMENT,
    PIP,
    PYTHON,
    REPOSITORY,
    SCRIPTS,
    STAMPS,
    SetUpError,
    is_current,
    output_of,
    run,
    say,
    stamp,
)

BUILD = ENVIRONMENT / "build" / "referdino"
REQUIREMENTS = REPOSITORY / "requirements"

# The releases of CPython for which there are wheels of ROS 2.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
# Extras of pyproject.toml by what they are for.
PURPOSES = {
    "demo": {"world"},
    "follow-demo": {"world", "voice"},
    "replay-demo": {"world", "replay", "report"},
    "docs": {"docs"},
    "test": {
        "world",
        "onnx",
        "replay",
        "report",
        "cluster",
        "benchmarks",
        "peers",
        "docs",
        "test",
        "voice",
    },
}
# Runtimes that need an extra too.
RUNTIME_EXTRAS = {"onnxruntime": {"onnx"}, "tensorrt": {"onnx"}}
# Extras that the tests use where there are wheels of them that do something.
TEST_EXTRAS_OF_X86_64 = {"tensorrt-rtx"}
# Where the wheels of TensorRT's bindings run.
TENSORRT_MACHINES = ("aarch64", "x86_64")
INSTALLED_FOLDERS = ("action", "config", "launch", "msg", "referdino_core", "referdino_ros", "srv")
BUILT_SUFFIXES = (".action", ".cpp", ".cu", ".h", ".msg", ".srv")


def main() -> int:
    """Bring `.venv` up to date; the exit status is 1 where that fails."""
    parser = argparse.ArgumentParser(description="Sets up what referdino needs in .venv.")
    parser.add_argument("--for", dest="purpose", choices=PURPOSES, default="test")
    parser.add_argument("--runtime", help="what will compute the network")
    arguments = parser.parse_args()
    extras = PURPOSES[arguments.purpose] | RUNTIME_EXTRAS.get(arguments.runtime, set())
    if arguments.purpose == "test" and platform.machine() == "x86_64":
        extras |= TEST_EXTRAS_OF_X86_64
    try:
        with only_one_at_a_time():
            ros_prefixes = find_ros()
            create_environment(ros_prefixes)
            install_pip()
            install_dependencies(ros_prefixes, extras)
            if arguments.purpose == "test":
                install_tensorrt_bindings()
            install_package(ros_prefixes)
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


@contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Wait for another set-up of this repository to end."""
    with open(Path(__file__).resolve(), "rb") as this_file:
        try:
            fcntl.flock(this_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this repository to end ...")
            fcntl.flock(this_file, fcntl.LOCK_EX)
        yield


def find_ros() -> list[str]:
    """The prefixes of a ROS installation that this shell has sourced; empty where there is none."""
    prefixes = outside_environment("AMENT_PREFIX_PATH")
    if not prefixes:
        return []
    search = [sys.executable, "-c", "import rclpy"]
    found = subprocess.run(search, env=environment_without_own(), capture_output=True)
    if found.returncode != 0:
        raise SetUpError(
            f"a ROS installation is sourced ({prefixes[-1]}), but {sys.executable} cannot import "
            "its rclpy: run make with PYTHON= the Python that it was made for"
        )
    return prefixes


def create_environment(ros_prefixes: list[str]) -> None:
    """Create the virtual environment, unless there is one that works."""
    origin_file = STAMPS / "origin.json"
    origin = {"repository": str(REPOSITORY), "ros": ros_prefixes[-1:]}
    if origin_file.exists():
        earlier = json.loads(origin_file.read_text())
        if earlier["ros"] != origin["ros"]:
            now = "source it and run make" if earlier["ros"] else "run make in a shell without ROS"
            made = f"for the ROS in {earlier['ros'][0]}" if earlier["ros"] else "without ROS"
            raise SetUpError(
                f"{ENVIRONMENT} was made {made}: {now}, or start afresh with: rm -r {ENVIRONMENT}"
            )
        if earlier == origin and PYTHON.exists():
            return
    check_machine(has_ros=bool(ros_prefixes))
    if ros_prefixes:
        say(f"using the ROS installation in {ros_prefixes[-1]}")
    pytorch = machine_pytorch(oldest_pytorch())
    # Virtual environments cannot be moved: where the repository was, a new one is made.
    if origin_file.exists() or not has_pip():
        say(f"creating the virtual environment {ENVIRONMENT} (Python {platform.python_version()})")
        command = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
        if ros_prefixes:
            command.append("--system-site-packages")
        if subprocess.run(command, capture_output=True).returncode != 0:
            raise SetUpError(
                "Python cannot create virtual environments: install what it lacks, for example "
                f"with: apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            )
    if pytorch is not None:
        share_pytorch(pytorch)
    STAMPS.mkdir(exist_ok=True)
    origin_file.write_text(json.dumps(origin))


def has_pip() -> bool:
    """Whether the virtual environment exists and was not left half made."""
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0


def check_machine(has_ros: bool) -> None:
    """Refuse early, with one line, what would fail late with many."""
    version = sys.version_info[:2]
    if version < OLDEST_PYTHON or (not has_ros and version > NEWEST_PYTHON):
        raise SetUpError(
            f"Python {platform.python_version()} is not supported: run make with PYTHON= a Python "
            f"from 3.{OLDEST_PYTHON[1]} to 3.{NEWEST_PYTHON[1]}"
        )
    if not has_ros and platform.machine() != "x86_64":
        raise SetUpError(
            f"there are no wheels of ROS 2 for {platform.machine()}: install ROS 2 Humble or "
            "Jazzy, source its setup.bash, and run make again"
        )
    if len(str(REPOSITORY).split()) > 1:
        raise SetUpError(
            f"{REPOSITORY} has a space in its name, which the build tools of ROS cannot handle: "
            "move the repository"
        )
    for tool, package in (("cmake", "cmake"), ("make", "make"), ("c++", "g++")):
        if shutil.which(tool) is None:
            raise SetUpError(
                f"{tool} is not found: install it, for example with: apt install {package}"
            )
    headers = Path(sysconfig.get_paths()["include"])
    if not (headers / "Python.h").exists():
        raise SetUpError(
            f"Python's headers are not in {headers}: install them, for example with: "
            f"apt install python{version[0]}.{version[1]}-dev"
        )


def install_pip() -> None:
    """Bring a recent pip before anything else: older ones search where it takes seconds."""
    requirement = (REQUIREMENTS / "pip.txt").read_text()
    if is_current("pip", requirement):
        return
    say("bringing a recent pip ...")
    command = [*PIP, "install", "--quiet", "--requirement", REQUIREMENTS / "pip.txt"]
    run(command, "pip could not be updated: see its message above")
    stamp("pip", requirement)


def install_dependencies(ros_prefixes: list[str], wanted: set[str]) -> None:
    """Install what pyproject.toml declares, and ROS from wheels where none is installed.

    Args:
        wanted: extras to install; those of earlier runs stay and are kept up to date.
    """
    extras_file = STAMPS / "extras.json"
    earlier = json.loads(extras_file.read_text()) if extras_file.exists() else []
    extras = sorted(wanted.union(earlier))
    requirements = output_of(
        [PYTHON, SCRIPTS / "declared_dependencies.py", REPOSITORY / "pyproject.toml", *extras]
    )
    if not ros_prefixes:
        requirements += (REQUIREMENTS / "ros.txt").read_text()
    pinned = pinned_pytorch()
    pytorch = pytorch_constraint(oldest_pytorch(), pinned)
    constraints = "\n".join([pytorch, *numpy_constraints(bool(ros_prefixes))])
    inputs = [requirements, constraints]
    if is_current("dependencies", inputs):
        return
    say("installing the Python dependencies; the first time this downloads a lot ...")
    warn_of_large_download()
    with tempfile.TemporaryDirectory() as folder:
        listed, limits = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        listed.write_text(requirements)
        limits.write_text(constraints)
        command = [*PIP, "install", "--requirement", listed, "--constraint", limits]
        if os.environ.get("TORCH_INDEX"):
            command += ["--extra-index-url", os.environ["TORCH_INDEX"]]
        run(command, "pip could not install the dependencies: see its message above")
    if not ros_prefixes:
        output_of([PYTHON, SCRIPTS / "correct_exported_folders.py"])
    note_own_pytorch(pinned)
    extras_file.write_text(json.dumps(extras))
    stamp("dependencies", inputs)


def oldest_pytorch() -> str:
    """The release of PyTorch that pyproject.toml asks for at least."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    return re.findall(r'^  "torch>=([\d.]+)"', text, re.MULTILINE)[0]


def pinned_pytorch() -> str:
    """The release of PyTorch that is installed where there is none."""
    text = (REQUIREMENTS / "constraints.txt").read_text()
    return re.findall(r"^torch==(\S+)$", text, re.MULTILINE)[0]


def warn_of_large_download() -> None:
    """Say how to avoid PyTorch's CUDA build where it is of no use."""
    has_torch = installed(PYTHON, "torch") is not None
    question = "import sys; from referdino_core.ops.build import has_gpu; sys.exit(not has_gpu())"
    asking = [sys.executable, "-c", question]
    has_gpu = subprocess.run(asking, cwd=REPOSITORY, capture_output=True).returncode == 0
    if has_torch or has_gpu or os.environ.get("TORCH_INDEX"):
        return
    say(
        "no NVIDIA GPU found: to keep pip from downloading gigabytes of CUDA, run make with "
        "TORCH_INDEX= the address of PyTorch's CPU wheel index (see pytorch.org)"
    )


def install_tensorrt_bindings() -> None:
    """Put each pinned release of TensorRT's bindings where only the tests find it."""
    if sys.platform != "linux" or platform.machine() not in TENSORRT_MACHINES:
        return
    requirements = (REQUIREMENTS / "tensorrt.txt").read_text()
    folder = ENVIRONMENT / "tensorrt"
    if is_current("tensorrt", requirements) and folder.is_dir():
        return
    say("installing TensorRT's Python bindings for the tests ...")
    shutil.rmtree(folder, ignore_errors=True)
    for line in requirements.splitlines():
        if not line or line.startswith("#"):
            continue
        release = ".".join(line.split("==")[1].split(".")[:2])
        command = [*PIP, "install", "--quiet"]
        command += ["--no-deps", "--only-binary", ":all:", "--target", folder / release, line]
        run(command, f"pip could not install {line}: see its message above")
    stamp("tensorrt", requirements)


def install_package(ros_prefixes: list[str]) -> None:
    """Build this ROS package with CMake and install it into `.venv`, as links to the sources."""
    numpy = installed(PYTHON, "numpy")
    ros = ros_prefixes[-1] if ros_prefixes else (REQUIREMENTS / "ros.txt").read_text()
    inputs = [ros, numpy and numpy.version, *package_inputs()]
    if is_current("package", inputs) and BUILD.is_dir():
        return
    say(
        "building the messages and the fused CPU kernel, installing the ROS package `referdino` ..."
    )
    prefixes = os.pathsep.join([str(ENVIRONMENT), *ros_prefixes])
    environment = os.environ | {
        "AMENT_PREFIX_PATH": prefixes,
        "CMAKE_PREFIX_PATH": prefixes,
        "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(ENVIRONMENT),
    }
    BUILD.mkdir(parents=True, exist_ok=True)
    earlier_links = installed_links()
    configure = ["cmake", REPOSITORY, f"-DCMAKE_INSTALL_PREFIX={ENVIRONMENT}"]
    configure += ["-DPython3_FIND_VIRTUALENV=ONLY", "-DBUILD_TESTING=OFF"]
    configure += ["-DAMENT_CMAKE_SYMLINK_INSTALL=ON"]
    build = ["cmake", "--build", ".", "--parallel", str(os.cpu_count() or 1)]
    for command in (configure, build, ["cmake", "--install", "."]):
        # ament keeps the list of its links in the folder in which the command runs.
        run(command, "CMake failed: see its message above", environment, BUILD, BUILD / "log")
    for link in earlier_links - installed_links():
        if link.is_symlink():
            link.unlink()
    stamp("package", inputs)


def package_inputs() -> Iterator[str]:
    """The contents of what is built, and the names of what is only linked."""
    names = ["CMakeLists.txt", "package.xml", "setup/executable.py.in"]
    names += sorted(f"trt_plugins/{path.name}" for path in (REPOSITORY / "trt_plugins").glob("*.*"))
    for name in names:
        yield (REPOSITORY / name).read_text()
    for folder in INSTALLED_FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.is_dir() or path.suffix in (".pyc", ".so"):
                continue
            yield str(path.relative_to(REPOSITORY))
            if path.suffix in BUILT_SUFFIXES or path.name == "variants.json":
                yield path.read_text()


def installed_links() -> set[Path]:
    """The links that the last installation made."""
    manifest = BUILD / "symlink_install_manifest.txt"
    return set(map(Path, manifest.read_text().split("\n")[:-1])) if manifest.exists() else set()


if __name__ == "__main__":
    sys.exit(main())
