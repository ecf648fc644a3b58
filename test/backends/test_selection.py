# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which runtime opens, what the log says about it, and sessions on PyTorch's in bfloat16."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import referdino_core as rd
from referdino_core.backends import selection, torch_backend
from referdino_core.backends.backend import Backend
from referdino_core.backends.selection import fastest, open_backend
from referdino_core.backends.torch_backend import TorchBackend
from referdino_core.configuration import RUNTIMES
from referdino_core.errors import ReferDINOError, RuntimeUnavailable
from referdino_core.evaluation.davis import region_similarity
from referdino_core.precision import PRECISIONS
from referdino_core.progress import ProgressMonitor
from referdino_core.world import WorldRenderer

CPU, GPU = torch.device("cpu"), torch.device("cuda")
HEIGHT, WIDTH = 96, 128
EVERYTHING = rd.SessionSettings(accept=0.0, keep=0.0, switch_margin=1.0)
OTHER_RUNTIMES = ("onnxruntime", "tensorrt")


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano", image_short_side=HEIGHT, num_queries=20)


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "kernel_library", lambda: None)


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# ---- What opens ----


@pytest.mark.parametrize("runtime", ["auto", "torch"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pytorch_opens_on_every_machine(
    model: rd.ReferDINO, runtime: str, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="referdino.runtime"):
        backend = open_backend(model, runtime, precision)

    assert isinstance(backend, TorchBackend)
    assert (backend.name, backend.precision, backend.device) == ("torch", precision, CPU)
    (line,) = [one.message for one in caplog.records if one.name == "referdino.runtime"]
    reason = {
        "auto": "with the fused CPU kernels it is the fastest on a CPU",
        "torch": "as asked",
    }
    assert line == f"Runtime: torch, {precision}, on cpu ({reason[runtime]})."


@pytest.mark.parametrize("runtime", OTHER_RUNTIMES)
def test_what_is_asked_for_reaches_the_runtime_of_that_name(
    model: rd.ReferDINO,
    runtime: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    given: list[tuple[Any, ...]] = []

    def stand_in(*arguments: Any) -> Backend:
        given.append(arguments)
        return TorchBackend(model, "fp16")

    monkeypatch.setitem(selection._OPENERS, runtime, stand_in)
    watch = ProgressMonitor()
    with caplog.at_level(logging.INFO, logger="referdino.runtime"):
        open_backend(model, runtime, "fp16", str(tmp_path), watch)
        open_backend(model, runtime, "fp16", "~/exports")
    assert given[0] == (model, "fp16", tmp_path, watch)
    assert given[1][2] == Path.home() / "exports"
    assert isinstance(given[1][3], ProgressMonitor) and not given[1][3].cancelled.is_set()
    assert f"Runtime: {runtime}, fp16, on cpu (as asked)." in caplog.text


@pytest.mark.parametrize("runtime", ["", "Torch", "openvino", "auto "])
def test_an_unknown_runtime_is_refused_with_those_there_are(
    model: rd.ReferDINO, runtime: str
) -> None:
    with pytest.raises(RuntimeUnavailable) as refusal:
        rd.Session(model, runtime=runtime)
    message = str(refusal.value)
    assert repr(runtime) in message and "\n" not in message
    assert all(name in message for name in RUNTIMES)


@pytest.mark.parametrize("precision", ["", "float32", "int8"])
def test_an_unknown_precision_is_refused_with_those_there_are(
    model: rd.ReferDINO, precision: str
) -> None:
    with pytest.raises(RuntimeUnavailable) as refusal:
        rd.Session(model, precision=precision)
    message = str(refusal.value)
    assert repr(precision) in message and "\n" not in message
    assert all(name in message for name in PRECISIONS)


@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_pytorch_has_no_fp16_on_a_cpu_and_says_what_to_choose(
    model: rd.ReferDINO, runtime: str
) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"fp16 on GPUs only.*bf16 or fp32"):
        rd.Session(model, runtime=runtime, precision="fp16")


def test_tensorrt_without_a_gpu_says_what_runs_here(model: rd.ReferDINO) -> None:
    with pytest.raises(RuntimeUnavailable) as refusal:
        open_backend(model, "tensorrt", "fp16")
    message = str(refusal.value)
    assert "NVIDIA GPUs" in message and "the device is cpu" in message
    assert "device cuda" in message and "torch or onnxruntime" in message


def test_a_refusal_is_an_error_of_referdino() -> None:
    assert issubclass(RuntimeUnavailable, ReferDINOError)


# ---- What "auto" stands for ----


@pytest.mark.parametrize(
    ("device", "precision", "chosen", "reason"),
    [
        (CPU, "fp32", "torch", "with the fused CPU kernels"),
        (CPU, "bf16", "torch", "with the fused CPU kernels"),
        (GPU, "fp32", "tensorrt", "the fastest on an NVIDIA GPU"),
        (GPU, "fp16", "tensorrt", "the fastest on an NVIDIA GPU"),
        (GPU, "bf16", "torch", "TensorRT is used for fp32 and fp16"),
    ],
)
def test_auto_tries_the_fastest_for_device_and_precision(
    device: torch.device, precision: str, chosen: str, reason: str
) -> None:
    name, why = fastest(device, precision)
    assert name == chosen
    assert reason in why


@pytest.mark.parametrize(
    ("precision", "chosen", "reason"),
    [
        ("fp32", "onnxruntime", "the fused CPU kernels are not built"),
        ("bf16", "torch", "ONNX Runtime is used for fp32"),
    ],
)
def test_auto_on_a_cpu_that_is_simulated_to_have_no_kernels(
    without_kernels: None, precision: str, chosen: str, reason: str
) -> None:
    name, why = fastest(CPU, precision)
    assert name == chosen
    assert reason in why


# ---- Sessions ----


@pytest.fixture
def preparations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes that stages were prepared for."""
    sizes: list[tuple[int, int]] = []
    prepare = torch_backend.optimize

    def noted(model: Any, size: tuple[int, int], precision: torch.dtype) -> Any:
        sizes.append(size)
        return prepare(model, size, precision)

    monkeypatch.setattr(torch_backend, "optimize", noted)
    return sizes


def test_a_session_in_bfloat16_picks_what_one_in_float32_picks(renderer: WorldRenderer) -> None:
    clip = renderer.clip("test", 1)
    clear = [one.text for one in clip.expressions if one.kind == "attribute"][:4]
    sentences = {str(n): text for n, text in enumerate(clear)}
    sessions = [rd.Session("nano", runtime="torch", precision=name) for name in ("fp32", "bf16")]
    assert [one.runtime for one in sessions] == ["torch fp32", "torch bf16"]
    tracked = 0
    for session in sessions:
        session.commands = sentences
    for frame, stamp in zip(clip.frames, clip.stamps.tolist(), strict=True):
        for full, low in zip(*(session.step(frame, stamp) for session in sessions), strict=True):
            assert low.state is full.state
            assert low.track_id == full.track_id
            assert region_similarity(low.mask, full.mask) > 0.9
            tracked += bool(full.mask.any())
    assert tracked == len(clip.frames) * len(clear)


def test_a_session_prepares_ahead_and_not_again(
    model: rd.ReferDINO, preparations: list[tuple[int, int]]
) -> None:
    session = rd.Session(model, runtime="torch", settings=EVERYTHING)
    assert preparations == []
    session.prepare(HEIGHT * 2, WIDTH * 2)
    assert preparations == [(HEIGHT, WIDTH)]
    session.command("the red ball")
    for seed in range(3):
        (target,) = session.step(image(HEIGHT * 2, WIDTH * 2, seed))
        assert target.mask.shape == (HEIGHT * 2, WIDTH * 2)
    assert preparations == [(HEIGHT, WIDTH)]


def test_without_commands_nothing_is_prepared(
    model: rd.ReferDINO, preparations: list[tuple[int, int]]
) -> None:
    session = rd.Session(model, runtime="torch")
    assert session.step(image(HEIGHT, WIDTH)) == ()
    assert preparations == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_another_image_size_is_prepared_for_and_answered_as_by_a_fresh_session(
    model: rd.ReferDINO, preparations: list[tuple[int, int]], precision: str
) -> None:
    options: dict[str, Any] = {"runtime": "torch", "precision": precision, "settings": EVERYTHING}
    session = rd.Session(model, **options)
    session.command("the red ball")
    sizes = [(HEIGHT, WIDTH), (HEIGHT, 2 * WIDTH), (2 * HEIGHT, 4 * WIDTH), (101, 97)]
    answers = [session.step(image(*size))[0] for size in sizes]
    # An image of twice the size is resized to what is prepared already.
    assert preparations == [(HEIGHT, WIDTH), (HEIGHT, 2 * WIDTH), (99, 96)]
    for size, answer in zip(sizes, answers, strict=True):
        fresh = rd.Session(model, **options)
        fresh.command("the red ball")
        (expected,) = fresh.step(image(*size))
        assert answer.box == expected.box
        assert np.array_equal(answer.mask, expected.mask)
        assert answer.score == expected.score
