# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""benchmarks/gpu.py as far as it runs without a GPU: its parts, their failures, its table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from repository import REPOSITORY

from referdino_core.ops.build import has_gpu

pytestmark = pytest.mark.slow

FOLDER = REPOSITORY / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu

    return gpu


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line_with_a_status_of_its_own(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, FOLDER / "gpu.py"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (outcome.returncode, outcome.stdout) == (77, "")
    assert outcome.stderr == "There is no NVIDIA GPU here: its driver lists none.\n"
    assert not list(tmp_path.iterdir())


def test_a_rehearsal_on_the_cpu_prints_a_table_and_writes_it_as_json(
    tmp_path: Path, one_thread: None
) -> None:
    out = tmp_path / "figures.json"
    outcome = subprocess.run(
        [sys.executable, FOLDER / "gpu.py", "--rehearse", "--out", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    content = json.loads(out.read_text())
    assert "PyTorch" in content["machine"]
    scenes = [(row["runtime"], row["cameras"], row["commands"]) for row in content["rows"]]
    assert scenes == [
        (runtime, *scene)
        for runtime in ("torch-fp32", "torch-bf16")
        for scene in ((1, 1), (1, 8), (8, 1))
    ]
    for row in content["rows"]:
        assert row["agrees"] is True and row["error"] == ""
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["frames_per_s"] == pytest.approx(1000 * row["cameras"] / row["p50_ms"])
    table = [line for line in outcome.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(content["rows"])
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("part", "workload", "why"),
    [
        ("kernel", {"model": "kernel"}, "NVCC names 'no-such-nvcc', which is not found"),
        ("stream", {"model": "nano", "runtime": "torch-fp16", "device": "cpu"}, "fp16 on GPUs"),
    ],
)
def test_a_part_that_fails_is_a_row_that_says_why(
    gpu: ModuleType,
    part: str,
    workload: dict[str, str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NVCC", "no-such-nvcc")
    (row,) = gpu.run_part(part, gpu.Workload(**workload), 120.0)
    assert why in row.error and "\n" not in row.error
    assert row.p50_ms is None
    assert row.error in gpu.table_lines([row])[-1]


@pytest.mark.parametrize(
    ("part", "workload", "why"),
    [
        ("plugin", {"model": "plugin"}, "Left out: the CUDA kernel and the TensorRT plugin"),
        (
            "stream",
            {"model": "nano", "runtime": "tensorrt-fp16", "device": "cpu"},
            "RuntimeUnavailable: TensorRT runs on NVIDIA GPUs, and the device is cpu",
        ),
    ],
)
def test_a_part_that_fails_says_why_in_its_last_line(
    gpu: ModuleType,
    part: str,
    workload: dict[str, str],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("NVCC", "no-such-nvcc")
    monkeypatch.setenv("CUDACXX", "no-such-nvcc")
    out = tmp_path / "rows.json"
    assert gpu.work_in_part(part, gpu.Workload(**workload), out) == 1
    assert why in capfd.readouterr().err.splitlines()[-1]
    assert not out.exists()


def test_a_part_that_dies_or_takes_too_long_is_a_row_too(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workload = gpu.Workload("swint", "torch-fp16")
    (row,) = gpu.run_part("stream", workload, 1.0)
    assert row.error == "took longer than 1 s"
    (row,) = gpu.run_part("stream", workload, 0.5)
    assert row.error == "skipped: the time was used up"
    script = tmp_path / "dies.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(gpu, "__file__", str(script))
    (row,) = gpu.run_part("stream", workload, 60.0)
    assert row.error == "ended with status -11"
    assert (row.model, row.runtime) == ("swint", "torch-fp16")
