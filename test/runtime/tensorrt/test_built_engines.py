# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The bundled model's engines, built by the program with NVIDIA's library, and taken elsewhere."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from real_tensorrt import (
    ARCHITECTURE,
    CAPABILITY,
    MAX_COMMANDS,
    PRECISION,
    Build,
    build_engines,
    nano_engines,
    pretend_gpu,
)
from referdino_core.progress import ProgressMonitor

from referdino_core.errors import Cancelled
from referdino_core.runtime.tensorrt.engine_cache import MAGIC
from referdino_core.runtime.tensorrt.provider import open_provider
from referdino_core.runtime.tensorrt.stage_tensors import STAGES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engines() -> Build:
    return nano_engines()


def header_of(engine: Path) -> dict[str, Any]:
    content = engine.read_bytes()
    start = len(MAGIC) + 8
    length = int.from_bytes(content[len(MAGIC) : start], "little")
    return json.loads(content[start : start + length])


def test_program_builds_every_stage_for_an_architecture_without_a_gpu(engines: Build) -> None:
    assert list(engines.engines) == list(STAGES)
    for line, path in zip(engines.output, engines.engines.values(), strict=True):
        assert line == f"{path}: built for {ARCHITECTURE}"
        assert path.parent == engines.exported.folder / "engines"
    assert "Traceback" not in engines.log and "error" not in engines.log.lower()
    assert not list(engines.exported.folder.rglob("timing-*")), "nothing is measured without a GPU"


@pytest.mark.parametrize("stage", STAGES)
def test_engine_says_what_it_is_for(engines: Build, stage: str) -> None:
    header = header_of(engines.engines[stage])
    key = header["key"]
    assert key["library"].startswith("TensorRT for RTX 1.")
    assert (key["compute_capability"], key["gpu"]) == (CAPABILITY, None)
    assert key["precision"] == f"{PRECISION}, strongly typed"
    assert key["plugin"] == (None if stage == "image_encoder" else "ReferdinoDeformableAttention 1")
    if stage != "image_encoder":
        assert key["shapes"]["N"] == [1, 1, MAX_COMMANDS]
    assert header["payload_bytes"] > 1 << 20


def test_program_keeps_engines_that_are_there(engines: Build) -> None:
    outcome = build_engines(engines.exported.folder, "--max-commands", str(MAX_COMMANDS))
    assert outcome.stdout.splitlines() == [
        f"{path}: is here for {ARCHITECTURE}" for path in engines.engines.values()
    ]


# ---- On another machine --------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The exported network on another machine, with the engines that were built for it."""
    return shutil.copytree(nano_engines().exported.folder, tmp_path / "copied")


def test_engines_built_elsewhere_are_used_on_a_simulated_gpu_that_they_fit(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch, *map(int, CAPABILITY.split(".")))
    provider = open_provider(copied, tmp_path / "cache", MAX_COMMANDS)
    engines = provider.provide_all()
    assert list(engines) == list(STAGES)
    for engine in engines.values():
        assert not engine.was_built
        assert engine.path.parent == copied / "engines"
    kernels = provider.kernels(engines["readout"])
    assert kernels is not None and kernels.parent == tmp_path / "cache"


@pytest.mark.parametrize(
    ("gpu", "max_commands", "reason"),
    [
        ((12, 0), MAX_COMMANDS, "for compute capability 8.9, this is 12.0"),
        ((8, 9), 4, "for the shapes L 16, N [1, 1, 2], wanted are L 16, N [1, 1, 4]"),
    ],
)
def test_engines_built_elsewhere_that_do_not_fit_a_simulated_gpu_are_named_with_the_reason(
    copied: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    gpu: tuple[int, int],
    max_commands: int,
    reason: str,
) -> None:
    caplog.set_level(logging.WARNING, logger="referdino.tensorrt")
    pretend_gpu(monkeypatch, *gpu)
    provider = open_provider(copied, tmp_path / "cache", max_commands)
    monitor = ProgressMonitor()
    monitor.cancelled.set()
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    with pytest.raises(Cancelled):
        provider._provide("grounder", False, monitor)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("grounder engine: grounder-") and line.endswith("; building it")
    assert f" is not used: {reason}" in line
