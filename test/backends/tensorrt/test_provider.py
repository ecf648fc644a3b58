# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From an exported network to its engines: what is refused, and engines built elsewhere."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from onnx_exports import nano_export
from real_tensorrt import (
    ARCHITECTURE,
    PRECISION,
    build_engines,
    environment,
    load_library_with_plugin,
    plugin_library,
    pretend_gpu,
    program,
    require_library,
)
from simulated_export import write_exported_set

from referdino_core.backends.tensorrt import plugin
from referdino_core.backends.tensorrt import provider as provider_module
from referdino_core.backends.tensorrt.provider import open_provider
from referdino_core.errors import ExportedSetError, TensorRTUnavailable
from referdino_core.ops.deformable_attention import ONNX_OPERATOR

pytestmark = pytest.mark.slow


def test_a_changed_file_of_the_exported_set_is_refused(tmp_path: Path) -> None:
    exported = write_exported_set(tmp_path / "swint")
    with (exported / "readout.onnx").open("a") as file:
        file.write(" ")
    with pytest.raises(ExportedSetError, match=r"not the file that export\.json describes"):
        open_provider(exported)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 1}, "has format 1, this is 2"),
        ({"precision": "fp8"}, "cannot be understood"),
        ({"stages": {}}, "cannot be understood"),
    ],
)
def test_an_exported_set_that_is_not_understood_is_one_clear_error(
    tmp_path: Path, change: dict, complaint: str
) -> None:
    exported = write_exported_set(tmp_path / "swint")
    path = exported / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ExportedSetError, match=complaint):
        open_provider(exported)


# ---- The plugin, with the real library -----------------------------------------------------------


@pytest.fixture
def exported() -> Path:
    require_library()
    return nano_export(PRECISION, "plugin").folder


def test_plugin_is_registered_once_however_often_it_is_needed(exported: Path) -> None:
    load_library_with_plugin()
    plugin.load_library(plugin_library())
    registry = provider_module.trt.get_plugin_registry()
    names = [getattr(creator, "name", "") for creator in registry.all_creators]
    assert names.count(ONNX_OPERATOR) == 1


def test_missing_plugin_is_one_clear_error(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(plugin.PATH_VARIABLE, raising=False)
    monkeypatch.setattr("referdino_core.backends.tensorrt.plugin.PACKAGE", tmp_path / "elsewhere")
    with pytest.raises(
        TensorRTUnavailable,
        match=r"contains ReferdinoDeformableAttention, but libreferdino_trt_plugins\.so is "
        r"missing: build it .* point REFERDINO_TRT_PLUGINS at it",
    ):
        open_provider(exported, architecture=ARCHITECTURE)


def test_variable_that_names_no_plugin_is_one_clear_error(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugin.PATH_VARIABLE, "/nowhere/plugins.so")
    with pytest.raises(
        TensorRTUnavailable, match=r"^/nowhere/plugins\.so, the TensorRT plugin .* does not exist"
    ):
        open_provider(exported, architecture=ARCHITECTURE)


def test_file_that_is_no_plugin_is_one_clear_error(exported: Path, tmp_path: Path) -> None:
    """In a process of its own: this one may have the plugin already."""
    library = tmp_path / plugin.LIBRARY_NAME
    library.write_bytes(b"no library at all")
    outcome = subprocess.run(
        program(exported),
        env=environment() | {plugin.PATH_VARIABLE: str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 1
    line = outcome.stderr.splitlines()[-1]
    assert line.startswith(f"referdino: error: {library} cannot be loaded: it does not bring ")
    assert "to TensorRT for RTX 1." in line


# ---- Other GPUs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sm_87", "9.0", "orin", ""])
def test_architecture_that_the_library_does_not_build_for_is_one_clear_error(
    exported: Path, name: str
) -> None:
    with pytest.raises(TensorRTUnavailable) as caught:
        open_provider(exported, architecture=name)
    message = str(caught.value)
    assert f"not for {name!r}" in message and "\n" not in message
    assert "builds for sm_75, sm_80, sm_86, sm_89, sm_120" in message


@pytest.mark.parametrize("gpu", [(8, 7), (9, 0), (11, 0)])
def test_simulated_gpu_that_tensorrt_for_rtx_does_not_know_is_one_clear_error(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: tuple[int, int]
) -> None:
    pretend_gpu(monkeypatch, *gpu)
    with pytest.raises(TensorRTUnavailable, match=f"not for '{gpu[0]}.{gpu[1]}': other GPUs need"):
        open_provider(exported, tmp_path / "cache")


def test_program_names_all_architectures_that_it_knows_before_it_builds_any(
    exported: Path,
) -> None:
    outcome = build_engines(exported, "--for", "sm_120,sm_90")
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert outcome.stderr.splitlines()[-1].startswith("referdino: error: TensorRT for RTX ")
