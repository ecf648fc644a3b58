# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Where a runtime is missing, broken or fails, "auto" runs PyTorch; asked for, it says why."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_exports import nano, nano_export

import referdino_core as rd
from referdino_core.backends import selection
from referdino_core.backends.selection import open_backend, runtimes_here
from referdino_core.backends.torch_backend import TorchBackend
from referdino_core.configuration import RUNTIMES
from referdino_core.errors import BuildError, RuntimeUnavailable
from referdino_core.export.exporting import obstacle
from referdino_core.progress import ProgressMonitor

HEIGHT, WIDTH = 96, 128
EVERYTHING = rd.SessionSettings(accept=0.0, keep=0.0, switch_margin=1.0)
RTX = ("tensorrt_rtx", "tensorrt_rtx_bindings")
BROKEN = (
    "raise ImportError('libonnx.so.1: cannot open shared object file')",
    "raise OSError('libcudart.so.12 is missing')",
    "raise AttributeError('_ARRAY_API not found')",
    "import a_part_that_is_missing",
    "raise SystemError",
)


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano", image_short_side=HEIGHT, num_queries=20)


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make packages impossible to find, as where they are not installed."""

    def without(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return without


@pytest.fixture
def break_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """Put a package before the installed one that raises while it is imported."""

    def replace(name: str, statement: str) -> None:
        folder = tmp_path / "broken" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(f"{statement}\n")
        monkeypatch.syspath_prepend(str(folder.parent))
        for module in [one for one in sys.modules if one.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)

    return replace


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "kernel_library", lambda: None)


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["onnxruntime", "onnx", "tensorrt"])
@pytest.mark.parametrize("statement", BROKEN)
def test_a_package_that_fails_while_it_is_imported_is_named_in_one_line(
    name: str,
    statement: str,
    break_package: Callable[[str, str], None],
    uninstall: Callable[..., None],
) -> None:
    uninstall(*RTX)
    break_package(name, statement)
    found = obstacle(name)
    assert found is not None and found.startswith(f"{name} cannot be imported (")
    assert "\n" not in found
    if name != "onnx":
        told = runtimes_here()[name]
        assert told.startswith("no; ") and "\n" not in told


@pytest.mark.parametrize("statement", BROKEN)
def test_with_a_broken_onnxruntime_auto_runs_pytorch_and_asked_for_it_fails_with_the_same_line(
    model: rd.ReferDINO,
    statement: str,
    break_package: Callable[[str, str], None],
    without_kernels: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    break_package("onnxruntime", statement)
    with caplog.at_level(logging.INFO, logger="referdino.runtime"):
        assert isinstance(open_backend(model), TorchBackend)
    with pytest.raises(RuntimeUnavailable, match="onnxruntime cannot be imported") as refusal:
        open_backend(model, "onnxruntime")
    (line,) = [one.message for one in caplog.records if one.name == "referdino.runtime"]
    assert line == f"Runtime: torch, fp32, on cpu ({refusal.value!s})."


@pytest.mark.parametrize(
    ("missing", "told"),
    [("onnxruntime", "onnxruntime is not installed"), ("onnx", "onnx is not installed")],
)
def test_where_a_package_is_missing_auto_runs_pytorch_and_asked_for_it_fails_with_the_same_line(
    model: rd.ReferDINO,
    missing: str,
    told: str,
    uninstall: Callable[..., None],
    without_kernels: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    uninstall(missing)
    with caplog.at_level(logging.INFO, logger="referdino.runtime"):
        session = rd.Session(model)
    assert session.runtime == "torch fp32"
    assert session.step(image(HEIGHT, WIDTH)) == ()
    with pytest.raises(RuntimeUnavailable, match=told) as refusal:
        rd.Session(model, runtime="onnxruntime")
    assert "pip install" in str(refusal.value) and "\n" not in str(refusal.value)
    (line,) = [one.message for one in caplog.records if one.name == "referdino.runtime"]
    assert line == f"Runtime: torch, fp32, on cpu ({str(refusal.value).rstrip('.')})."


def test_without_onnx_an_export_that_was_made_elsewhere_still_runs(
    uninstall: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = nano_export().folder
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path))
    uninstall("onnx")
    session = rd.Session(nano(), runtime="onnxruntime", exports=given)
    session.command("the red ball")
    assert session.step(image(120, 160))[0].command == "the red ball"


class FailingBackend(TorchBackend):
    """A runtime that opens, and then cannot get ready for any image."""

    name = "tensorrt"

    def prepare(self, size: tuple[int, int]) -> None:
        raise BuildError("TensorRT cannot build the grounder engine.\nThe second line.")


def test_a_simulated_runtime_that_cannot_get_ready_gives_way_to_pytorch_under_auto_alone(
    model: rd.ReferDINO,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(selection, "fastest", lambda device, precision: ("tensorrt", "here"))
    monkeypatch.setitem(selection._OPENERS, "tensorrt", lambda m, p, e, w: FailingBackend(m, p))
    session = rd.Session(model, settings=EVERYTHING)
    session.command("the red ball")
    assert session.runtime == "tensorrt fp32"
    (target,) = session.step(image(HEIGHT, WIDTH))
    assert session.runtime == "torch fp32"
    (line,) = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert line.startswith("Runtime: torch from now on, because tensorrt cannot get ready")
    assert line.endswith(": TensorRT cannot build the grounder engine.")
    expected = rd.Session(model, settings=EVERYTHING, runtime="torch")
    expected.command("the red ball")
    assert np.array_equal(target.mask, expected.step(image(HEIGHT, WIDTH))[0].mask)
    named = rd.Session(model, runtime="tensorrt")
    named.command("the red ball")
    with pytest.raises(BuildError):
        named.step(image(HEIGHT, WIDTH))


def test_who_cancels_a_simulated_runtime_is_not_given_pytorch_in_its_place(
    model: rd.ReferDINO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "fastest", lambda device, precision: ("tensorrt", "here"))
    monkeypatch.setitem(selection._OPENERS, "tensorrt", lambda m, p, e, w: FailingBackend(m, p))
    watch = ProgressMonitor()
    session = rd.Session(model, watch=watch)
    watch.cancelled.set()
    with pytest.raises(BuildError):
        session.prepare(HEIGHT, WIDTH)
    assert session.runtime == "tensorrt fp32"


def test_runtimes_are_listed_with_how_to_install_missing_ones(
    uninstall: Callable[..., None],
) -> None:
    here = runtimes_here()
    assert list(here) == [name for name in RUNTIMES if name != "auto"]
    assert here["torch"] == here["onnxruntime"] == "yes"
    uninstall("onnxruntime", "tensorrt", *RTX)
    told = runtimes_here()
    assert told["torch"] == "yes"
    assert told["onnxruntime"].startswith("no; onnxruntime is not installed; install it with")
    assert told["tensorrt"].startswith("no; ") and "pip install" in told["tensorrt"]
