# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PyTorch and NumPy that the machine has: set-up builds on them and never replaces them.

A Jetson's PyTorch comes from NVIDIA and no other runs there; the messages of a ROS installation are
compiled against its NumPy.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from running import ENVIRONMENT, PIP, PYTHON, SCRIPTS, STAMPS, SetUpError, output_of, say

# Which PyTorch set-up itself put into `.venv`: that one may give way to the next that is pinned.
OWN_PYTORCH = STAMPS / "pytorch"
PATH_FILE = "machine_pytorch.pth"


@dataclass(frozen=True)
class Installed:
    """A Python package that is installed somewhere.

    Attributes:
        version: as its metadata says. folder: the one that Python's search path names.
    """

    version: str
    folder: Path

    @property
    def is_in_environment(self) -> bool:
        """Whether it lies in `.venv`."""
        return self.folder.is_relative_to(ENVIRONMENT)


def installed(python: str | Path, name: str) -> Installed | None:
    """The package that a Python imports under a distribution's name, None where it has none."""
    command = [python, SCRIPTS / "installed_distributions.py", name]
    answer = json.loads(output_of(command, environment_without_own()))
    if name not in answer["found"] or tuple(answer["release"]) != sys.version_info[:2]:
        return None
    version, folder = answer["found"][name]
    return Installed(version, Path(folder).resolve())


def outside_environment(variable: str) -> list[str]:
    """The folders that a search path names, less those of `.venv`."""
    folders = [folder for folder in os.environ.get(variable, "").split(os.pathsep) if folder]
    return [folder for folder in folders if not Path(folder).is_relative_to(ENVIRONMENT)]


def environment_without_own() -> dict[str, str]:
    """The environment variables, with no folder of `.venv` on Python's search path."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(outside_environment("PYTHONPATH"))}


def machine_python() -> str:
    """The Python that `.venv` is made with, also where `.venv` is active."""
    if Path(sys.prefix) == ENVIRONMENT:
        return getattr(sys, "_base_executable", sys.executable)
    return sys.executable


def machine_pytorch(oldest: str) -> Installed | None:
    """The PyTorch of the active virtual environment or else of the machine, None without one.

    Args:
        oldest: release of PyTorch that the project needs at least.

    Raises:
        SetUpError: it is too old, and TORCH_INDEX names no place to get another from; or it cannot
            be imported.
    """
    pythons = [machine_python()]
    active = os.environ.get("VIRTUAL_ENV")
    if active and Path(active).resolve() != ENVIRONMENT:
        pythons.insert(0, str(Path(active, "bin", "python")))
    for python in filter(os.path.exists, pythons):
        pytorch = installed(python, "torch")
        if pytorch is None:
            continue
        if not is_older(pytorch.version, oldest):
            check_import(python, pytorch)
            return pytorch
        if not os.environ.get("TORCH_INDEX"):
            raise SetUpError(too_old(pytorch, oldest))
    return None


def share_pytorch(pytorch: Installed) -> None:
    """Let a fresh `.venv` see a PyTorch outside, unless it does so by itself."""
    if installed(PYTHON, "torch") is None:
        say(f"using PyTorch {pytorch.version} of {pytorch.folder}")
        purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
        path_file = Path(output_of([PYTHON, "-c", purelib]).strip(), PATH_FILE)
        path_file.write_text(f"{pytorch.folder}\n")


def check_import(python: str, pytorch: Installed) -> None:
    """Raise SetUpError where a PyTorch is there and does not work."""
    outcome = subprocess.run(
        [python, "-c", "import torch"],
        env=environment_without_own(),
        capture_output=True,
        text=True,
    )
    if outcome.returncode != 0:
        reason = (outcome.stderr.strip().splitlines() or [f"status {outcome.returncode}"])[-1]
        raise SetUpError(
            f"PyTorch {pytorch.version} in {pytorch.folder} cannot be imported ({reason}): mend or "
            "remove it"
        )


def pytorch_constraint(oldest: str, pinned: str) -> str:
    """What pip is told about PyTorch: the version that is there, else one of TORCH_INDEX or a pin.

    Args:
        oldest: release that the project needs at least. pinned: the one for where there is none.

    Raises:
        SetUpError: the one that is there is too old, or TORCH_INDEX has none.
    """
    present = installed(PYTHON, "torch")
    index = os.environ.get("TORCH_INDEX")
    if index and (present is None or is_older(present.version, oldest)):
        say("installing PyTorch from TORCH_INDEX ...")
        install_pytorch_of(index, oldest, pinned)
        present = installed(PYTHON, "torch")
    if present is None or is_own(present, pinned):
        return f"torch=={pinned}"
    if is_older(present.version, oldest):
        raise SetUpError(too_old(present, oldest))
    return f"torch=={present.version}"


def install_pytorch_of(index: str, oldest: str, pinned: str) -> None:
    """Install from a package index the PyTorch that is pinned, or else its newest.

    Raises:
        SetUpError: it has none that fits.
    """
    options = ["--no-deps", "--index-url", index]
    complaints = ""
    for requirement in (f"torch=={pinned}", f"torch>={oldest}"):
        outcome = subprocess.run(
            [*PIP, "install", *options, requirement], stderr=subprocess.PIPE, text=True
        )
        if outcome.returncode == 0:
            return
        complaints += outcome.stderr
    print(complaints, file=sys.stderr)
    raise SetUpError(
        f"pip could not install PyTorch {oldest} or newer from TORCH_INDEX ({index}): see its "
        "message above"
    )


def is_own(pytorch: Installed, pinned: str) -> bool:
    """Whether set-up put a PyTorch into `.venv`, rather than the user."""
    if not pytorch.is_in_environment:
        return False
    noted = OWN_PYTORCH.read_text() if OWN_PYTORCH.exists() else ""
    return pytorch.version == noted or pytorch.version.split("+")[0] == pinned


def note_own_pytorch(pinned: str) -> None:
    """Remember the PyTorch that pip just installed because it is pinned."""
    present = installed(PYTHON, "torch")
    if present is not None and is_own(present, pinned):
        OWN_PYTORCH.write_text(present.version)


def numpy_constraints(has_ros: bool) -> list[str]:
    """What pip is told about NumPy, for the sake of compiled code that is there already."""
    systems = installed(machine_python(), "numpy") if has_ros else None
    versions = [] if systems is None else [systems.version]
    pytorch = installed(PYTHON, "torch")
    if pytorch is not None and not pytorch.is_in_environment:
        # PyTorch's metadata does not say with which NumPy it was built: the one beside it.
        versions += [path.stem.split("-")[1] for path in pytorch.folder.glob("numpy-*.dist-info")]
    return sorted({numpy_constraint(version) for version in versions})


def numpy_constraint(version: str) -> str:
    """The releases of NumPy that code compiled against one of them runs with.

    These are the later ones with the same major number.
    """
    major = int(version.split(".")[0])
    return f"numpy>={version},<{major + 1}"


def too_old(pytorch: Installed, oldest: str) -> str:
    """The line about a PyTorch that cannot be used."""
    return (
        f"PyTorch {pytorch.version} in {pytorch.folder} is too old, referdino needs {oldest} or "
        "newer: install a newer one there (on a Jetson, one of NVIDIA's builds), or run make with "
        "TORCH_INDEX= the package index from which to install one into .venv"
    )


def is_older(version: str, oldest: str) -> bool:
    """Whether a version comes before a release; alphas and candidates come before their release."""
    return order_of(version) < order_of(oldest)


def order_of(version: str) -> tuple[list[int], bool]:
    """What versions of PyTorch are sorted by: the release's numbers, and whether it is final."""
    public = version.split("+")[0]
    numbers = re.match(r"\d+(?:\.\d+)*", public)
    if numbers is None:
        raise SetUpError(f"PyTorch has a version that cannot be read: {version}")
    release = [int(number) for number in numbers[0].split(".")]
    rest = public[numbers.end() :]
    return release + [0] * (4 - len(release)), not rest or rest.startswith(".post")
