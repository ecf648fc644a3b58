# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions over exported networks: ONNX Runtime for real, TensorRT with simulated engines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import referdino_core as rd
from referdino_core.errors import CommandError
from referdino_core.evaluation.region_similarity import region_similarity
from referdino_core.export.exported_set import read_exported_set
from referdino_core.media.sources import open_source
from referdino_core.runtime import tensorrt_stages
from referdino_core.runtime.onnx_stages import OnnxRunner, OnnxRuntimeStages
from referdino_core.runtime.stages import Watch
from referdino_core.runtime.tensorrt import BuildProgress
from referdino_core.runtime.tensorrt_stages import TensorRTRuntime
from referdino_ros.demo.scene import BUNDLED, load

FRAMES = 16
MOST_TURNED = 8
"""Answers that may differ by more than rounding: those of one command over one window."""
SHORT = "the big cylinder"
LONG = "the small purple ball to the left of the big orange cylinder and in front of the green box"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the tests of this file share, and nobody else."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(home))


@pytest.fixture(scope="module")
def images() -> list[Any]:
    with open_source(str(load(BUNDLED).video)) as source:
        return [frame.image for frame in source][:FRAMES]


def sentences() -> dict[str, str]:
    return {str(number): one.text for number, one in enumerate(load(BUNDLED).commands)}


def assert_equal_answers(first: rd.Session, second: rd.Session, images: list[Any]) -> None:
    """Step both sessions through the images, under the sentences of the scene.

    A last bit may turn the rank of two queries that are nearly equal. Another query on the same
    object is then felt for a window of frames.
    """
    first.commands = second.commands = sentences()
    tracked = turned = 0
    for image in images:
        for expected, found in zip(first.step(image), second.step(image), strict=True):
            assert found.state is expected.state
            assert found.box == pytest.approx(expected.box, abs=1.0)
            assert region_similarity(found.mask, expected.mask) > 0.98
            turned += (
                found.score != pytest.approx(expected.score, abs=2e-3)
                or found.box != pytest.approx(expected.box, abs=0.05)
                or (found.mask != expected.mask).mean() > 1e-3
            )
            tracked += expected.state is rd.TargetState.TRACKING
    assert tracked > FRAMES
    assert turned <= MOST_TURNED


def test_a_session_on_onnx_runtime_answers_as_one_on_pytorch(images: list[Any]) -> None:
    first, second = (rd.Session("nano", runtime=name) for name in ("torch", "onnxruntime"))
    assert_equal_answers(first, second, images)


def test_a_longer_sentence_brings_graphs_of_its_own_and_changes_no_other_answer(
    images: list[Any],
) -> None:
    session, alone = (rd.Session("nano", runtime="onnxruntime") for _ in range(2))
    session.command(SHORT)
    alone.command(SHORT)
    session.step(images[0])
    alone.step(images[0])
    session.commands = {**session.commands, "long": LONG}
    first, _ = session.step(images[1])
    (expected,) = alone.step(images[1])
    assert isinstance(session.stages, OnnxRuntimeStages)
    assert sorted(session.stages.runners) == [16, 32]
    assert first.score == pytest.approx(expected.score, abs=2e-3)
    assert (first.mask != expected.mask).mean() < 1e-3


def test_a_sentence_that_is_too_long_is_refused_and_what_runs_goes_on(images: list[Any]) -> None:
    session = rd.Session("nano", runtime="onnxruntime")
    session.command(SHORT)
    with pytest.raises(CommandError, match="at most 64"):
        session.command(" ".join([LONG] * 5))
    assert session.step(images[0])[0].command == SHORT


class SimulatedEngines:
    """Stands in for `TensorRTStages`: ONNX Runtime computes, into outputs that are used again."""

    def __init__(
        self, folder: Path, *, on_progress: Any, cancelled: Any, device: torch.device
    ) -> None:
        exported = read_exported_set(folder)
        on_progress(BuildProgress(0.5, "grounder", "timing"))
        self.runner = OnnxRunner(exported, ["CPUExecutionProvider"], device)
        self.outputs: dict[str, Tensor] = {}
        on_progress(BuildProgress(1.0, "", ""))

    def reused(self, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        for name, tensor in outputs.items():
            kept = self.outputs.get(name)
            if kept is None or kept.shape != tensor.shape:
                self.outputs[name] = tensor.clone()
            else:
                kept.copy_(tensor)
        return {name: self.outputs[name] for name in outputs}

    def encode_image(self, pixels: Tensor) -> Mapping[str, Tensor]:
        return self.reused(self.runner.encode_image(pixels))

    def ground(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        assert all(tensor.is_contiguous() for tensor in inputs.values())
        return self.reused(self.runner.ground(inputs))

    def read(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        assert inputs["references"].is_contiguous()
        return self.reused(self.runner.read(inputs))


def test_a_session_on_simulated_engines_keeps_what_they_overwrite(
    images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_stages, "TensorRTStages", SimulatedEngines)
    told: list[tuple[float, str]] = []
    watch = Watch(on_progress=lambda fraction, phase: told.append((fraction, phase)))
    session, expected = rd.Session("nano"), rd.Session("nano")
    session.stages = TensorRTRuntime(session.model, "fp32", None, watch)
    assert_equal_answers(expected, session, images)
    exporting = [fraction for fraction, phase in told if phase == "exporting the network"]
    assert exporting == sorted(exporting) and exporting[-1] == 1.0
    assert told[len(exporting) :] == [(0.5, "building engine"), (1.0, "building engine")]
