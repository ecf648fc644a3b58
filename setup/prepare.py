# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sets up everything that the tests and the demo need, in the folder `.venv` of this repository.

Runs before anything is installed, so it uses the standard library alone. Each stage leaves a stamp
of its inputs: a stage whose inputs have not changed is skipped, so that a second run is a matter of
a second and needs no network.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
REPOSITORY = SCRIPTS.parent
ENVIRONMENT = REPOSITORY / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
BUILD = ENVIRONMENT / "build" / "referdino"
STAMPS = ENVIRONMENT / "stamps"
REQUIREMENTS = REPOSITORY / "requirements"

# The releases of CPython for which there are wheels of ROS 2.
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 13)
EXTRAS = ("world", "onnx", "replay", "report", "cluster", "benchmarks", "test")
# Where the wheels of TensorRT's bindings run.
TENSORRT_MACHINES = ("aarch64", "x86_64")
INSTALLED_FOLDERS = ("config", "launch", "msg", "referdino_core", "referdino_ros", "srv")


class SetUpError(Exception):
    """The set-up cannot go on; the message is one line that says what to do."""


def say(message: str) -> None:
    """Tell the user what is going on."""
    print(f"set-up: {message}", flush=True)


def main() -> int:
    """Bring `.venv` up to date; the exit status is 1 where that fails."""
    try:
        with only_one_at_a_time():
            ros_prefixes = find_ros()
            create_environment(ros_prefixes)
            install_dependencies(ros_prefixes)
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
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(outside_environment("PYTHONPATH"))}
    search = [sys.executable, "-c", "import rclpy"]
    if subprocess.run(search, env=environment, capture_output=True).returncode != 0:
        raise SetUpError(
            f"a ROS installation is sourced ({prefixes[-1]}), but {sys.executable} cannot import "
            "its rclpy: run make with PYTHON= the Python that it was made for"
        )
    return prefixes


def outside_environment(variable: str) -> list[str]:
    """The folders that a search path names, less those of `.venv`."""
    folders = [folder for folder in os.environ.get(variable, "").split(os.pathsep) if folder]
    return [folder for folder in folders if not Path(folder).is_relative_to(ENVIRONMENT)]


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


def install_dependencies(ros_prefixes: list[str]) -> None:
    """Install what pyproject.toml declares, and ROS from wheels where none is installed."""
    requirements = output_of(
        [PYTHON, SCRIPTS / "declared_dependencies.py", REPOSITORY / "pyproject.toml", *EXTRAS]
    )
    constraints = (REQUIREMENTS / "constraints.txt").read_text()
    if ros_prefixes:
        # The messages of the ROS installation are compiled against its own NumPy.
        installed = "import numpy; print(numpy.__version__)"
        constraints += f"\nnumpy=={output_of([sys.executable, '-c', installed])}"
    else:
        requirements += (REQUIREMENTS / "ros.txt").read_text()
    inputs = [requirements, constraints]
    if is_current("dependencies", inputs):
        return
    say("installing the Python dependencies; the first time this downloads a lot ...")
    warn_of_large_download()
    with tempfile.TemporaryDirectory() as folder:
        wanted, pinned = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        wanted.write_text(requirements)
        pinned.write_text(constraints)
        command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
        command += ["--requirement", wanted, "--constraint", pinned]
        if os.environ.get("TORCH_INDEX"):
            command += ["--extra-index-url", os.environ["TORCH_INDEX"]]
        run(command, "pip could not install the dependencies: see its message above")
    if not ros_prefixes:
        output_of([PYTHON, SCRIPTS / "correct_exported_folders.py"])
    stamp("dependencies", inputs)


def warn_of_large_download() -> None:
    """Say how to avoid PyTorch's CUDA build where it is of no use."""
    search = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    has_torch = subprocess.run([PYTHON, "-c", search]).returncode == 0
    has_gpu = shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
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
        command = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        command += ["--no-deps", "--only-binary", ":all:", "--target", folder / release, line]
        run(command, f"pip could not install {line}: see its message above")
    stamp("tensorrt", requirements)


def install_package(ros_prefixes: list[str]) -> None:
    """Build this ROS package with CMake and install it into `.venv`, as links to the sources."""
    inputs = [(STAMPS / "dependencies").read_text(), *package_inputs()]
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
            if path.suffix in (".cpp", ".cu", ".h", ".msg", ".srv"):
                yield path.read_text()


def installed_links() -> set[Path]:
    """The links that the last installation made."""
    manifest = BUILD / "symlink_install_manifest.txt"
    return set(map(Path, manifest.read_text().split("\n")[:-1])) if manifest.exists() else set()


def run(
    command: list[str | Path],
    complaint: str,
    environment: dict[str, str] | None = None,
    folder: Path = REPOSITORY,
    log: Path | None = None,
) -> None:
    """Run a command; where it has a log, its output is shown only when it fails."""
    if log is None:
        outcome = subprocess.run(command, env=environment, cwd=folder)
    else:
        with log.open("w") as output:
            outcome = subprocess.run(
                command, env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )
    if outcome.returncode != 0:
        if log is not None:
            print(log.read_text(), file=sys.stderr)
        raise SetUpError(complaint)


def output_of(command: list[str | Path]) -> str:
    """What a command prints."""
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode != 0:
        print(outcome.stderr, file=sys.stderr)
        raise SetUpError(f"{command[0]} failed: see its message above")
    return outcome.stdout


def digest(inputs: object) -> str:
    """A fingerprint of a stage's inputs."""
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def is_current(stage: str, inputs: object) -> bool:
    """Whether a stage was completed with the same inputs."""
    path = STAMPS / stage
    return path.exists() and path.read_text() == digest(inputs)


def stamp(stage: str, inputs: object) -> None:
    """Note that a stage is complete."""
    (STAMPS / stage).write_text(digest(inputs))


if __name__ == "__main__":
    sys.exit(main())
