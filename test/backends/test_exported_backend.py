# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions over exported networks: ONNX Runtime for real, TensorRT with simulated engines."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx_exports import nano, nano_export, recorded_once
from torch import Tensor

import referdino_core as rd
from referdino_core.backends import torch_backend
from referdino_core.backends.backend import MAX_SIZES
from referdino_core.backends.onnx_backend import OnnxRunner, OnnxRuntimeBackend
from referdino_core.backends.tensorrt import tensorrt_backend
from referdino_core.backends.tensorrt.provider import DEFAULT_MAX_COMMANDS
from referdino_core.backends.tensorrt.tensorrt_backend import TensorRTBackend
from referdino_core.errors import CommandError, ExportError, ReferDINOError, RuntimeUnavailable
from referdino_core.evaluation.davis import region_similarity
from referdino_core.evaluation.recorded_scene import BUNDLED, load
from referdino_core.export.cache import ExportCache
from referdino_core.export.exported_set import ExportedSet, read_exported_set
from referdino_core.media.sources import open_source
from referdino_core.progress import ProgressMonitor

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

FRAMES = 16
PAUSE = 0.2
"""Seconds between two images while something is made ready, which gets on with it."""
MAX_TURNED = 8
"""Answers that may differ by more than rounding: those of one command over one window."""
SHORT = "the big cylinder"
LONG = "the small purple ball to the left of the big orange cylinder and in front of the green box"


@pytest.fixture(scope="module", autouse=True)
def recordings() -> Iterator[None]:
    """Exports are written and kept as ever, but every stage is recorded once."""
    with recorded_once():
        yield


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


@pytest.fixture(scope="module")
def answers(images: list[Any]) -> list[tuple[rd.Target, ...]]:
    """What a session on PyTorch answers to the images, under the sentences of the scene."""
    session = rd.Session("nano", runtime="torch")
    session.commands = sentences()
    return [session.step(image) for image in images]


def assert_equal_answers(
    answers: list[tuple[rd.Target, ...]], session: rd.Session, images: list[Any]
) -> None:
    """Step the session through the images, under the sentences of the scene.

    A last bit may turn the rank of two queries that are nearly equal. Another query on the same
    object is then felt for a window of frames.
    """
    session.commands = sentences()
    tracked = turned = 0
    for image, wanted in zip(images, answers, strict=True):
        for expected, found in zip(wanted, session.step(image), strict=True):
            assert found.state is expected.state
            assert found.box == pytest.approx(expected.box, abs=1.0)
            assert region_similarity(found.mask, expected.mask) > 0.95
            turned += (
                found.score != pytest.approx(expected.score, abs=2e-3)
                or found.box != pytest.approx(expected.box, abs=0.05)
                or (found.mask != expected.mask).mean() > 1e-3
            )
            tracked += expected.state is rd.TargetState.TRACKING
    assert tracked > FRAMES
    assert turned <= MAX_TURNED


def test_a_session_on_onnx_runtime_answers_as_one_on_pytorch(
    answers: list[tuple[rd.Target, ...]], images: list[Any]
) -> None:
    assert_equal_answers(answers, rd.Session("nano", runtime="onnxruntime"), images)


def test_a_longer_sentence_joins_when_its_graphs_are_there_and_stalls_no_image(
    images: list[Any],
) -> None:
    session, alone = (rd.Session("nano", runtime="onnxruntime") for _ in range(2))
    session.command(SHORT)
    alone.command(SHORT)
    session.step(images[0])
    alone.step(images[0])
    assert session.preparing == {}
    session.commands = {**session.commands, "long": LONG}
    backend = session.backend
    assert isinstance(backend, OnnxRuntimeBackend)
    told, others = [], 0
    for image in itertools.islice(itertools.cycle(images[1:]), 5000):
        preparing = session.preparing
        first, *rest = session.step(image)
        (expected,) = alone.step(image)
        assert (first.state, first.track_id) == (expected.state, expected.track_id)
        assert first.score == pytest.approx(expected.score, abs=2e-2)
        assert [target.command_id for target in rest] == ["long"]
        if not preparing:
            break
        others += 1
        told.append(preparing["long"])
        assert rest[0].state is rd.TargetState.SEARCHING and not rest[0].mask.any()
        assert rest[0].judgement is rd.Judgement.JUDGED
        time.sleep(PAUSE)
    assert others > 0 and session.preparing == {}
    assert all(one.error is None for one in told)
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    assert sorted(backend.runners) == [16, 32]
    fresh = rd.Session("nano", runtime="torch")
    fresh.commands = {"long": LONG}
    (wanted,) = fresh.step(image)
    assert rest[0].score == pytest.approx(wanted.score, abs=2e-3)
    session.commands = {"short": SHORT}
    assert session.preparing == {}


def test_graphs_that_are_there_serve_shorter_sentences_too(images: list[Any]) -> None:
    session = rd.Session("nano", runtime="onnxruntime")
    session.command(LONG)
    session.step(images[0])
    session.command(SHORT)
    assert session.preparing == {}
    session.step(images[1])
    assert isinstance(session.backend, OnnxRuntimeBackend)
    assert sorted(session.backend.runners) == [32]


def test_a_sentence_that_the_runtime_cannot_get_ready_for_says_so_and_may_be_tried_again(
    images: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = rd.Session("nano", runtime="onnxruntime")
    session.command(SHORT)
    session.step(images[0])

    def full(*arguments: Any) -> None:
        raise ExportError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(ExportCache, "provide", full)
        session.commands = {"short": SHORT, "long": LONG}
        wait_until(lambda: session.preparing["long"].error is not None)
        assert session.preparing["long"].error == "The disk is full."
        assert "sentences of 32 tokens in images of 160x120 failed: The disk is full" in caplog.text
        for image in images[1:4]:
            assert len(session.step(image)) == 2
    assert session.preparing["long"].error is not None
    session.commands = {"short": SHORT}
    session.commands = {"short": SHORT, "long": LONG}
    wait_until(lambda: not session.preparing)
    assert len(session.step(images[4])) == 2


def wait_until(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    """Poll until the condition holds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)


def many_commands_over_long_windows(runtime: str, images: list[Any]) -> list[tuple[rd.Target, ...]]:
    """What a session with more commands and a longer window than a batch holds answers."""
    words = [f"{sentence} {end}" for sentence in sentences().values() for end in ("", ".", "?")]
    assert len(words) > 8
    session = rd.Session("nano", runtime=runtime, window=11)
    session.commands = {str(number): text for number, text in enumerate(words)}
    answers = [session.step(image) for image in images[:12]]
    assert max(len(one.memory.window) for one in session.running.values()) == 11
    return answers


@pytest.fixture(scope="module")
def many_answers(images: list[Any]) -> list[tuple[rd.Target, ...]]:
    """What PyTorch answers to many commands over long windows."""
    return many_commands_over_long_windows("torch", images)


@pytest.mark.parametrize("at_once", [None, 4])
def test_more_commands_and_longer_windows_than_a_batch_holds_are_answered_as_on_pytorch(
    at_once: int | None,
    many_answers: list[tuple[rd.Target, ...]],
    images: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OnnxRuntimeBackend, "commands_at_once", at_once)
    found = many_commands_over_long_windows("onnxruntime", images)
    for expected, answers in zip(many_answers, found, strict=True):
        for one, other in zip(expected, answers, strict=True):
            assert one.state is other.state
            assert region_similarity(one.mask, other.mask) > 0.98


def test_a_sentence_that_is_too_long_is_refused_and_what_runs_goes_on(images: list[Any]) -> None:
    session = rd.Session("nano", runtime="onnxruntime")
    session.command(SHORT)
    with pytest.raises(CommandError, match="at most 64"):
        session.command(" ".join([LONG] * 5))
    assert session.step(images[0])[0].command == SHORT


class SimulatedEngines:
    """Stands in for `TensorRTRunner`: ONNX Runtime computes, into outputs that are used again."""

    def __init__(self, folder: Path, *, monitor: ProgressMonitor, device: torch.device) -> None:
        exported = read_exported_set(folder)
        self.window = exported.window
        monitor.report(0.5, phase="grounder timing")
        self.runner = OnnxRunner(exported, ["CPUExecutionProvider"], device)
        self.outputs: dict[str, Tensor] = {}
        monitor.report(1.0)

    def reused(self, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        for name, tensor in outputs.items():
            kept = self.outputs.get(name)
            if kept is None or kept.shape != tensor.shape:
                self.outputs[name] = tensor.clone()
            else:
                kept.copy_(tensor)
        return {name: self.outputs[name] for name in outputs}

    def run(self, stage: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if stage == "grounder":
            assert all(tensor.is_contiguous() for tensor in inputs.values())
            assert len(inputs["text"]) <= DEFAULT_MAX_COMMANDS
        if stage == "readout":
            assert inputs["references"].is_contiguous()
            count, frames = inputs["queries"].shape[:2]
            assert count <= DEFAULT_MAX_COMMANDS and frames <= self.window
        return self.reused(self.runner.run(stage, inputs))


def test_a_session_on_simulated_engines_keeps_what_they_overwrite(
    answers: list[tuple[rd.Target, ...]], images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_backend, "TensorRTRunner", SimulatedEngines)
    told: list[tuple[float, str]] = []
    monitor = ProgressMonitor(lambda progress: told.append((progress.fraction, progress.phase)))
    session = rd.Session("nano")
    session.backend = TensorRTBackend(session.model, "fp32", None, monitor)
    assert_equal_answers(answers, session, images)
    exporting = [fraction for fraction, phase in told if phase == "exporting the network"]
    assert exporting == sorted(exporting) and exporting[-1] == 1.0
    assert told[len(exporting) :] == [(0.5, "building engine"), (1.0, "building engine")]


def test_simulated_engines_get_no_more_commands_and_frames_than_they_were_built_for(
    images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_backend, "TensorRTRunner", SimulatedEngines)
    session, expected = rd.Session("nano", window=9), rd.Session("nano", window=9, runtime="torch")
    session.backend = TensorRTBackend(session.model, "fp32", None, ProgressMonitor())
    for one in (session, expected):
        one.commands = {str(number): SHORT for number in range(DEFAULT_MAX_COMMANDS + 1)}
    for image in images[:11]:
        for target, wanted in zip(session.step(image), expected.step(image), strict=True):
            assert target.state is wanted.state
            assert region_similarity(target.mask, wanted.mask) > 0.98
    with pytest.raises(RuntimeUnavailable, match="open for windows of at most 9 frames, not 12"):
        session.settings = replace(session.settings, window=12)
    assert session.settings.window == 9
    session.settings = replace(session.settings, window=5)
    session.step(images[0])


def test_cameras_on_simulated_engines_keep_their_masks_apart(
    images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_backend, "TensorRTRunner", SimulatedEngines)
    session, expected = rd.Session("nano"), rd.Session("nano", runtime="onnxruntime")
    session.backend = TensorRTBackend(session.model, "fp32", None, ProgressMonitor())
    groups = [rd.CameraGroup(one, 2) for one in (session, expected)]
    for group in groups:
        group.set_commands({camera: {"a": SHORT} for camera in range(2)})
    seen = 0
    for one, other in zip(images[:4], images[8:12], strict=True):
        for found, wanted in zip(*(group.step([one, other]) for group in groups), strict=True):
            assert region_similarity(found[0].mask, wanted[0].mask) > 0.98
            seen += bool(wanted[0].mask.any())
    assert seen == 8


def test_a_camera_of_another_size_joins_when_its_graphs_are_there_and_stalls_no_other(
    images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = rd.CameraGroup(rd.Session("nano", runtime="onnxruntime"), 2)
    group.set_commands({camera: {"a": SHORT} for camera in range(2)})
    opened: list[ExportedSet] = []
    open_set = OnnxRuntimeBackend.open
    monkeypatch.setattr(
        OnnxRuntimeBackend,
        "open",
        lambda self, exported, monitor: (
            opened.append(exported),
            open_set(self, exported, monitor),
        )[1],
    )
    wide, square = images[0], np.ascontiguousarray(images[0][:, :240])
    group.step([wide, None])
    waited = 0
    for _ in range(5000):
        first, second = group.step([wide, square])
        assert first[0].mask.any()
        if second[0].state is rd.TargetState.TRACKING:
            break
        waited += 1
        assert list(group.sessions[1].preparing) == ["a"] and not group.sessions[0].preparing
        time.sleep(PAUSE)
    assert waited > 0
    for _ in range(3):
        first, second = group.step([wide, square])
        assert first[0].mask.shape == (240, 320) and second[0].mask.shape == (240, 240)
    assert [(one.height, one.width) for one in opened] == [(120, 160), (120, 120)]


def test_pytorch_prepares_once_for_every_size_of_the_cameras(
    images: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    prepare = torch_backend.optimize
    monkeypatch.setattr(
        torch_backend,
        "optimize",
        lambda model, size, kind: (sizes.append(size), prepare(model, size, kind))[1],
    )
    group = rd.CameraGroup(rd.Session("nano", runtime="torch"), 2)
    group.set_commands({camera: {"a": SHORT} for camera in range(2)})
    square = np.ascontiguousarray(images[0][:, :240])
    for _ in range(3):
        first, second = group.step([images[0], square])
        assert first[0].mask.any() and second[0].mask.shape == (240, 240)
    assert sizes == [(120, 160), (120, 120)]
    for width in (200, 210, 220, 230):
        session = rd.Session(group.sessions[0].model, runtime="torch")
        session.backend = group.sessions[0].backend
        session.command(SHORT)
        session.step(np.ascontiguousarray(images[0][:, :width]))
    assert len(group.sessions[0].backend.prepared) == MAX_SIZES  # type: ignore[attr-defined]
    assert group.step([images[0], square])[0][0].mask.any()


def test_an_export_for_shorter_windows_is_refused_when_a_tensorrt_session_sets_its_window() -> None:
    backend = TensorRTBackend(
        nano(), "fp32", nano_export("fp32", "gather").folder, ProgressMonitor()
    )
    session = rd.Session(nano(), window=9)
    with pytest.raises(RuntimeUnavailable, match="exported for windows of at most 8 frames, not 9"):
        session.backend = backend
    session.settings = replace(session.settings, window=8)
    session.backend = backend


def test_a_window_beyond_all_limits_is_refused_when_it_is_set() -> None:
    with pytest.raises(ReferDINOError, match="window is 65; it must be at most 64 frames"):
        rd.SessionSettings(window=65)
