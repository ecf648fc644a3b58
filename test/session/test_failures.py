# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions that are not finite and failures inside a step: one image is lost, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from session_samples import session_that_tracks, small_model, steady_images

import referdino_core as rd
from referdino_core.backends.torch_backend import TorchBackend

IMAGES = steady_images(6)
NAN = float("nan")


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    return small_model()


class SpoiltBackend(TorchBackend):
    """Stages whose next call of one kind gives a value that is no number."""

    def __init__(self, model: rd.ReferDINO) -> None:
        super().__init__(model, "fp32")
        self.spoil = ""
        self.row = 0
        self.value = NAN

    def ground(self, image, text):  # type: ignore[no-untyped-def]
        grounding = super().ground(image, text)
        if self.spoil in ("queries", "references", "mask_features"):
            values = getattr(grounding, self.spoil).clone(memory_format=torch.contiguous_format)
            values[self.row].flatten()[7] = self.value
            grounding = replace(grounding, **{self.spoil: values})
        return grounding

    def read(self, window, mask_features):  # type: ignore[no-untyped-def]
        readings = super().read(window, mask_features)
        if self.spoil in ("scores", "boxes", "mask_embeddings"):
            values = getattr(readings, self.spoil).clone()
            values[self.row].flatten()[0] = self.value
            readings = replace(readings, **{self.spoil: values})
        return readings


def session_of(model: rd.ReferDINO) -> tuple[rd.Session, SpoiltBackend]:
    session = session_that_tracks(model)
    backend = SpoiltBackend(model)
    session.backend = backend
    return session, backend


@pytest.mark.parametrize(
    "what", ["queries", "references", "mask_features", "scores", "boxes", "mask_embeddings"]
)
@pytest.mark.parametrize(
    ("images_before", "value"), [(0, NAN), (3, NAN), (3, float("inf")), (3, -float("inf"))]
)
def test_a_prediction_that_is_not_finite_costs_one_image(
    model: rd.ReferDINO, what: str, images_before: int, value: float
) -> None:
    session, backend = session_of(model)
    undisturbed, _ = session_of(model)
    for one in (session, undisturbed):
        one.command("the red ball")
        for image in IMAGES[:images_before]:
            one.step(image)
    backend.spoil, backend.value = what, value
    with pytest.raises(rd.InferenceError, match="'the red ball' is not finite"):
        session.step(IMAGES[5], 0.1 * images_before)
    assert (session.judgement, session.failure_count) == (rd.Judgement.FAILED, 1)
    backend.spoil = ""
    for number in range(images_before, images_before + 2):
        (target,) = session.step(IMAGES[number], 0.1 * number)
        (expected,) = undisturbed.step(IMAGES[number], 0.1 * number)
        assert target.score == pytest.approx(expected.score, abs=1e-6)
        assert (target.track_id, target.judgement) == (1, rd.Judgement.JUDGED)


def test_the_error_names_the_command_that_failed_and_the_others_keep_their_memories(
    model: rd.ReferDINO,
) -> None:
    session, backend = session_of(model)
    session.commands = {"a": "the red ball", "b": "the box"}
    session.step(IMAGES[0])
    memories = [command.memory.memory for command in session.running.values()]
    backend.spoil, backend.row = "queries", 1
    with pytest.raises(rd.InferenceError, match="'the box' is not finite"):
        session.step(IMAGES[1])
    for command, memory in zip(session.running.values(), memories, strict=True):
        assert command.memory.memory is memory
        assert len(command.memory.window) == 1


def test_a_failure_inside_a_step_forgets_the_command_rather_than_half_of_it(
    model: rd.ReferDINO, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = session_of(model)
    session.commands = {"a": "the red ball", "b": "the box"}
    session.step(IMAGES[0])
    failing = session.running["b"]
    with monkeypatch.context() as patched:
        patched.setattr(failing.memory, "remember", raising(RuntimeError("out of memory")))
        with pytest.raises(RuntimeError, match="out of memory"):
            session.step(IMAGES[1])
    assert (len(session.running["a"].memory.window), len(failing.memory.window)) == (2, 0)
    assert (session.failure_count, failing.tracker.tracks) == (1, [])
    first, second = session.step(IMAGES[2])
    assert (first.track_id, second.state) == (1, rd.TargetState.TRACKING)


def test_the_failure_of_one_camera_keeps_no_other_from_its_image(
    model: rd.ReferDINO, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = rd.CameraGroup(session_that_tracks(model), 3)
    for session in group.sessions:
        session.command("the red ball")
    group.step([IMAGES[0]] * 3)
    with monkeypatch.context() as patched:
        memory = group.sessions[1].running["command"].memory
        patched.setattr(memory, "remember", raising(RuntimeError("out of memory")))
        with pytest.raises(RuntimeError, match="out of memory"):
            group.step([IMAGES[1]] * 3)
    assert [session.failure_count for session in group.sessions] == [0, 1, 0]
    frames = [len(session.running["command"].memory.window) for session in group.sessions]
    assert frames == [2, 0, 2]
    assert [targets[0].track_id for targets in group.step([IMAGES[2]] * 3)] == [1, 2, 1]


def test_a_failed_image_makes_no_later_one_late(model: rd.ReferDINO) -> None:
    session, backend = session_of(model)
    session.command("the red ball")
    session.step(IMAGES[0], 3.9)
    backend.spoil = "scores"
    with pytest.raises(rd.InferenceError):
        session.step(IMAGES[1], 4.4)
    backend.spoil = ""
    (target,) = session.step(IMAGES[2], 4.2)
    assert target.judgement is rd.Judgement.JUDGED


def test_a_reset_is_reported_with_the_first_processed_image(model: rd.ReferDINO) -> None:
    session, backend = session_of(model)
    session.command("the red ball")
    session.step(IMAGES[0], 1.0)
    backend.spoil = "scores"
    with pytest.raises(rd.InferenceError):
        session.step(IMAGES[1], 9.0)
    backend.spoil = ""
    judgements = [session.step(IMAGES[2], 9.1 + 0.1 * n)[0].judgement for n in range(2)]
    assert judgements == [rd.Judgement.RESET, rd.Judgement.JUDGED]


def test_targets_of_an_unprocessed_image_are_marked_as_such(model: rd.ReferDINO) -> None:
    session, backend = session_of(model)
    session.commands = {"a": "the red ball", "b": "the box"}
    session.step(IMAGES[0])
    backend.spoil = "scores"
    with pytest.raises(rd.InferenceError):
        session.step(IMAGES[1])
    targets = session.unjudged((4, 6), rd.Judgement.FAILED)
    assert [one.command_id for one in targets] == ["a", "b"]
    for target in targets:
        assert target.judgement is rd.Judgement.FAILED
        assert target.mask.shape == (4, 6) and not target.mask.any()


def test_a_memory_stays_finite_over_a_long_stream_with_the_paper_s_relevance() -> None:
    torch.manual_seed(0)
    model = rd.build("nano", relevance="paper")
    memory = model.object_memory(2)
    width = model.configuration.width
    queries, boxes = torch.randn(12, width), torch.rand(12, 4)
    text = -queries[:1].repeat(4, 1)
    for number in range(3000):
        memory.update(queries + 0.3 * torch.randn(12, width), boxes, text, 0.1 * number)
    assert memory.memory is not None and memory.memory.isfinite().all()
    assert memory.memory.norm(dim=-1).max() < 2 * queries.norm(dim=-1).max()


def raising(error: Exception) -> Callable[..., None]:
    """A function that raises, whatever it is given."""

    def function(*_: object, **__: object) -> None:
        raise error

    return function
