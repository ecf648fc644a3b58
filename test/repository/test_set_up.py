# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What set-up asks pip for: a PyTorch and NumPy that are there are kept, extras go by purpose.

Real environments and a real pip, with small wheels of their own in place of the large ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from repository import REPOSITORY

pytestmark = pytest.mark.slow

SITE_PACKAGES = Path("lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
NVIDIA = "2.5.0a0+nv24.08"
"""A PyTorch as JetPack 6 has it."""

PROJECT = """
[project]
name = "referdino"
dependencies = [
  "numpy>=1.21",
  "torch>=2.4",
]
[project.optional-dependencies]
world = ["world-wheel"]
replay = ["replay-wheel"]
report = ["replay-wheel"]
onnx = ["onnx-wheel"]
cluster = ["test-wheel"]
benchmarks = ["test-wheel"]
peers = ["test-wheel"]
docs = ["test-wheel"]
test = ["test-wheel"]
voice = ["test-wheel"]
"""
# All stages that concern pip, as `main` runs them.
STAGES = """
import sys, prepare
prepare.create_environment([])
prepare.install_pip()
prepare.install_dependencies([], prepare.PURPOSES[sys.argv[1]])
"""


@pytest.fixture
def machine_packages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of set-up that decides; it is no part of the package."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "setup"))
    import machine_packages

    return machine_packages


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of everything that the project of these tests asks for."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, version in (
        ("torch", "2.13.0"),
        ("numpy", "1.21.5"),
        ("numpy", "1.26.4"),
        ("numpy", "2.3.0"),
        *((f"{purpose}_wheel", "1.0") for purpose in ("world", "replay", "onnx", "test")),
    ):
        make_wheel(folder, name, version)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository that holds set-up and a project of small dependencies."""
    folder = tmp_path / "clone"
    shutil.copytree(REPOSITORY / "setup", folder / "setup")
    (folder / "requirements").mkdir()
    (folder / "requirements" / "constraints.txt").write_text("torch==2.13.0\n")
    (folder / "requirements" / "pip.txt").write_text("pip\n")
    (folder / "requirements" / "ros.txt").write_text("")
    (folder / "setup" / "correct_exported_folders.py").write_text("")
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel of a package that is nothing but its name and version."""
    record = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        wheel.writestr(
            f"{record}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{record}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{record}/RECORD", "")


def install_simulated(folder: Path, name: str, version: str) -> None:
    """Put a package into a folder, as pip leaves it there."""
    folder.mkdir(parents=True, exist_ok=True)
    make_wheel(folder, name, version)
    [wheel] = folder.glob(f"{name}-*.whl")
    with zipfile.ZipFile(wheel) as contents:
        contents.extractall(folder)
    wheel.unlink()


def active_environment(folder: Path) -> Path:
    """A virtual environment of the user's; returns its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / SITE_PACKAGES


def set_up(
    clone: Path, wheels: Path, purpose: str = "demo", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the stages with the Python that this one was made with and nothing but local wheels."""
    names = ("VIRTUAL_ENV", "TORCH_INDEX", "AMENT_PREFIX_PATH", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    environment |= {"PIP_FIND_LINKS": str(wheels), "PYTHONPATH": str(clone / "setup")}
    return subprocess.run(
        [getattr(sys, "_base_executable", sys.executable), "-c", STAGES, purpose],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=240,
    )


def found(clone: Path) -> dict[str, str]:
    """What the environment that was set up sees: versions by name."""
    program = (
        "import importlib.metadata as m\n"
        "for d in m.distributions(): print(d.name.replace('_', '-'), d.version)"
    )
    command = [clone / ".venv" / "bin" / "python", "-c", program]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    versions: dict[str, str] = {}
    for line in listing.splitlines():
        versions.setdefault(*line.split())
    return versions


@pytest.mark.parametrize(
    ("system", "constraint"),
    [
        ("1.21.5", "numpy>=1.21.5,<2"),
        ("1.26.4", "numpy>=1.26.4,<2"),
        ("2.1", "numpy>=2.1,<3"),
    ],
)
def test_numpy_may_be_newer_than_the_systems_within_its_major_release(
    machine_packages: ModuleType, system: str, constraint: str
) -> None:
    assert machine_packages.numpy_constraint(system) == constraint


def test_numpy_beside_a_simulated_foreign_pytorch_bounds_numpy(
    machine_packages: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy-2.4.6.dist-info").mkdir()
    foreign = SimpleNamespace(is_in_environment=False, folder=tmp_path)
    monkeypatch.setattr(machine_packages, "installed", lambda python, package: foreign)
    assert machine_packages.numpy_constraints(has_ros=False) == ["numpy>=2.4.6,<3"]


@pytest.mark.parametrize(
    ("version", "older"),
    [
        ("2.3.1", True),
        ("2.4.0a0+07cecf4168.nv24.05", True),
        ("2.4.0", False),
        ("2.4.0.post2", False),
        (NVIDIA, False),
        ("2.13.0+cpu", False),
        ("10.0", False),
    ],
)
def test_versions_of_pytorch_are_compared_with_the_oldest(
    machine_packages: ModuleType, version: str, older: bool
) -> None:
    assert machine_packages.is_older(version, "2.4") is older


def test_purposes_add_up_and_nothing_is_installed_twice(clone: Path, wheels: Path) -> None:
    outcome = set_up(clone, wheels, "demo")
    assert outcome.returncode == 0, outcome.stderr
    installed = found(clone)
    assert (installed["torch"], installed["numpy"]) == ("2.13.0", "2.3.0")
    assert "world-wheel" in installed
    assert not {"replay-wheel", "onnx-wheel", "test-wheel"} & set(installed)
    outcome = set_up(clone, wheels, "test")
    assert outcome.returncode == 0, outcome.stderr
    assert {"world-wheel", "replay-wheel", "onnx-wheel", "test-wheel"} <= set(found(clone))
    for purpose in ("demo", "replay-demo", "test"):
        outcome = set_up(clone, wheels, purpose, PIP_FIND_LINKS="/nowhere")
        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


def test_the_next_pinned_pytorch_replaces_the_one_that_set_up_brought(
    clone: Path, wheels: Path, tmp_path: Path
) -> None:
    assert set_up(clone, wheels).returncode == 0
    later = tmp_path / "later"
    shutil.copytree(wheels, later)
    make_wheel(later, "torch", "2.14.0")
    (clone / "requirements" / "constraints.txt").write_text("torch==2.14.0\n")
    outcome = set_up(clone, later)
    assert outcome.returncode == 0, outcome.stderr
    assert found(clone)["torch"] == "2.14.0"


def test_simulated_pytorch_of_an_active_environment_is_kept_with_its_numpy(
    clone: Path, wheels: Path, tmp_path: Path
) -> None:
    theirs = active_environment(tmp_path / "active")
    install_simulated(theirs, "torch", NVIDIA)
    install_simulated(theirs, "numpy", "1.21.5")
    active = {"VIRTUAL_ENV": str(tmp_path / "active")}
    outcome = set_up(clone, wheels, **active)
    assert outcome.returncode == 0, outcome.stderr
    assert f"using PyTorch {NVIDIA} of {theirs}" in outcome.stdout
    installed = found(clone)
    assert installed["torch"] == NVIDIA
    assert installed["numpy"].startswith("1.")
    assert not (clone / ".venv" / SITE_PACKAGES / "torch").exists()
    # Later runs keep it too, whether the environment is active or not.
    outcome = set_up(clone, wheels, "test")
    assert outcome.returncode == 0, outcome.stderr
    assert found(clone)["torch"] == NVIDIA


def test_simulated_pytorch_that_the_user_put_into_the_environment_is_kept(
    clone: Path, wheels: Path
) -> None:
    assert set_up(clone, wheels).returncode == 0
    place = clone / ".venv" / SITE_PACKAGES
    shutil.rmtree(place / "torch")
    shutil.rmtree(next(place.glob("torch-*.dist-info")))
    install_simulated(place, "torch", NVIDIA)
    outcome = set_up(clone, wheels, "test")
    assert outcome.returncode == 0, outcome.stderr
    assert found(clone)["torch"] == NVIDIA


def test_simulated_pytorch_that_is_too_old_is_named_unless_an_index_has_a_newer_one(
    clone: Path, wheels: Path, tmp_path: Path
) -> None:
    theirs = active_environment(tmp_path / "active")
    install_simulated(theirs, "torch", "2.1.0")
    active = {"VIRTUAL_ENV": str(tmp_path / "active")}
    for _ in range(2):  # also the second time
        outcome = set_up(clone, wheels, **active)
        assert outcome.returncode == 1
        last = outcome.stderr.splitlines()[-1]
        assert f"PyTorch 2.1.0 in {theirs} is too old, referdino needs 2.4 or newer" in last
        assert "TORCH_INDEX=" in last
    index = tmp_path / "index" / "torch"
    index.mkdir(parents=True)
    make_wheel(index, "torch", "2.8.0")
    [wheel] = index.iterdir()
    (index / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    others = tmp_path / "others"
    shutil.copytree(wheels, others, ignore=shutil.ignore_patterns("torch-*"))
    address = index.parent.as_uri()
    outcome = set_up(clone, others, TORCH_INDEX=address, PIP_NO_INDEX="0", **active)
    assert outcome.returncode == 0, outcome.stderr
    assert found(clone)["torch"] == "2.8.0"
