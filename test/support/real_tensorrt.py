# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's TensorRT for RTX in the tests: its real parser and builder, which need no GPU.

What is slow happens once for all tests. The plugin is compiled against the declarations of
test/support/interfaces, or against TensorRT's own headers where TENSORRT_ROOT names them; its
kernel's threads run on the CPU, and no build calls them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cuda_kernel_cases import DECLARED, PLUGINS, compile_library
from onnx_exports import fresh_folder, nano_export
from repository import REPOSITORY

from referdino_core.backends.tensorrt import plugin
from referdino_core.backends.tensorrt import provider as provider_module
from referdino_core.backends.tensorrt.library import (
    TENSORRT_RTX,
    installed_libraries,
    load_tensorrt,
)
from referdino_core.export.exported_set import ExportedSet

ARCHITECTURE, CAPABILITY = "sm_89", "8.9"
MAX_COMMANDS = 2
PRECISION = "fp16"


def require_library() -> None:
    """Skip where TensorRT for RTX is not installed."""
    if TENSORRT_RTX not in installed_libraries():
        pytest.skip(f"{TENSORRT_RTX.name} is not installed: install it {TENSORRT_RTX.how_to_get}")


def load_library_with_plugin() -> None:
    """Load both into this process."""
    require_library()
    load_tensorrt(TENSORRT_RTX)
    plugin.load_library(plugin_library())


def header_folders() -> list[list[str]]:
    """Compiler options for each set of TensorRT's headers: declared for the tests, and real."""
    folders = [[f"-I{DECLARED}"]]
    root = os.environ.get("TENSORRT_ROOT")
    if root:
        found = [
            path for path in (Path(root), Path(root, "include")) if (path / "NvInfer.h").exists()
        ]
        assert found, f"TENSORRT_ROOT is {root}, where there is no NvInfer.h"
        folders.append([f"-isystem{folder}" for folder in (found[0], *cuda_headers())])
    return folders


def cuda_headers() -> list[Path]:
    """Folders with CUDA's headers, which TensorRT's include: the toolkit's, or a package's."""
    homes = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))]
    homes += [Path(folder, "nvidia") for folder in sys.path]
    found = [
        header.parent
        for home in homes
        for header in (
            home / "include" / "cuda_runtime_api.h",
            *home.glob("*/include/cuda_runtime_api.h"),
        )
        if header.exists()
    ]
    return found[:1]


@cache
def plugin_library() -> Path:
    """The plugin for the real library."""
    library = fresh_folder() / plugin.LIBRARY_NAME
    headers = header_folders()[-1]
    source = PLUGINS / "deformable_attention_plugin.cpp"
    return compile_library(library, *headers, source, DECLARED / "host_kernel.cpp")


@dataclass(frozen=True)
class Build:
    """What `referdino build-engine` made of an exported set, and the lines that it printed."""

    exported: ExportedSet
    output: list[str]
    log: str
    engines: dict[str, Path]


@cache
def nano_engines() -> Build:
    """The bundled model's engines for one architecture, built by the program in its own process."""
    require_library()
    exported = nano_export(PRECISION, "plugin")
    outcome = build_engines(exported.folder, "--max-commands", str(MAX_COMMANDS))
    assert outcome.returncode == 0, outcome.stderr
    lines = outcome.stdout.splitlines()
    engines = [Path(line.rpartition(": ")[0]) for line in lines]
    return Build(
        exported, lines, outcome.stderr, {path.name.rsplit("-", 1)[0]: path for path in engines}
    )


def build_engines(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run `referdino build-engine` for the architecture, with the plugin."""
    return subprocess.run(
        [*program(folder), *more], env=environment(), capture_output=True, text=True, check=False
    )


def program(folder: Path) -> list[str | Path]:
    """The command that builds the engines of a folder for the architecture."""
    name = "referdino_core.cli"
    return [sys.executable, "-m", name, "build-engine", folder, "--for", ARCHITECTURE]


def environment() -> dict[str, str]:
    """What that command needs to find the package's sources and the plugin."""
    return os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        plugin.PATH_VARIABLE: str(plugin_library()),
    }


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, major: int, minor: int) -> None:
    """All that is asked of a GPU before an engine is loaded."""
    properties = SimpleNamespace(name="Simulated GPU", major=major, minor=minor)
    monkeypatch.setattr(provider_module, "_gpu", lambda device: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setenv(plugin.PATH_VARIABLE, str(plugin_library()))
