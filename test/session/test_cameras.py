# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Groups of cameras predict what sessions of their own would, with their images in one batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from camera_groups import (
    CAMERAS,
    EVERYTHING,
    FRAMES,
    HEIGHT,
    SENTENCES,
    WIDTH,
    CountingBackend,
    OneImageBackend,
    assert_answers_as_separate_sessions,
    change_commands,
    drifting_scenes,
    graphed_backend,
    group_of,
    session_of,
    small_model,
)
from inference_cases import ROUTES, prepare_by

import referdino_core as rd
from referdino_core.backends.exported_backend import ExportedBackend
from referdino_core.backends.torch_backend import TorchBackend


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    return small_model()


@pytest.fixture(scope="module")
def scenes() -> list[list[np.ndarray]]:
    return drifting_scenes()


def test_cameras_in_one_batch_give_the_results_of_separate_sessions(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    backend = CountingBackend(model)
    assert_answers_as_separate_sessions(group_of(model, backend=backend), model, scenes)
    assert backend.images == 4 * [3] + 5 * [4] + 3 * [3]
    assert backend.grounded == 4 * [(3, 5)] + 5 * [(4, 7)] + 3 * [(3, 7)]


def test_stages_of_one_image_go_from_camera_to_camera_with_the_same_answers(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    assert not ExportedBackend.takes_batches
    backend = OneImageBackend(model)
    assert_answers_as_separate_sessions(group_of(model, backend=backend), model, scenes)
    assert len(backend.images) == 4 * 3 + 5 * 4 + 3 * 3
    assert backend.grounded[:3] == [(1, 3), (1, 1), (1, 1)]


@pytest.mark.parametrize("route", ROUTES[1:])
def test_cameras_in_one_batch_without_the_cpu_kernels(
    model: rd.ReferDINO,
    scenes: list[list[np.ndarray]],
    monkeypatch: pytest.MonkeyPatch,
    route: str,
) -> None:
    backend = TorchBackend(model, "fp32")
    backend.use(prepare_by(route, model, (HEIGHT, WIDTH), torch.float32, monkeypatch))
    backend.size = (HEIGHT, WIDTH)
    assert_answers_as_separate_sessions(group_of(model, backend=backend), model, scenes, backend)


def test_cameras_keep_what_graphs_overwrite(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = graphed_backend(model, monkeypatch)
    assert_answers_as_separate_sessions(group_of(model, backend=backend), model, scenes)


def test_steady_cameras_replay_what_was_recorded_once(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = graphed_backend(model, monkeypatch)
    group = group_of(model, backend=backend)
    change_commands(group.sessions, 0)
    parts = (backend.image, backend.grounding_by_rows, backend.readout)
    calls = []
    for frame in range(FRAMES):
        group.step([scene[frame] for scene in scenes])
        calls.append([part.function.calls for part in parts])  # type: ignore[attr-defined]
    assert calls[-1] == calls[5]
    assert calls[-1][:2] == [2, 2]


def test_one_command_per_camera_is_one_call_of_every_stage_without_copies_of_images(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = CountingBackend(model)
    group = group_of(model, backend=backend)
    for session in group.sessions:
        session.command(SENTENCES["short"])
    backend.prepare((HEIGHT, WIDTH))
    monkeypatch.setattr(backend, "grounding_by_rows", None)
    for frame in range(3):
        answers = group.step([scene[frame] for scene in scenes])
        assert [len(targets) for targets in answers] == CAMERAS * [1]
    assert backend.images == backend.windows == 3 * [CAMERAS]
    assert backend.grounded == 3 * [(CAMERAS, CAMERAS)]


def test_a_lone_camera_s_commands_share_its_image(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    backend = CountingBackend(model)
    group = group_of(model, backend=backend)
    group.sessions[2].commands = SENTENCES
    answers = group.step([scene[0] for scene in scenes])
    assert [len(targets) for targets in answers] == [0, 0, 3, 0]
    assert (backend.images, backend.grounded, backend.windows) == ([1], [(1, 3)], [3])


def test_without_commands_no_image_is_encoded_and_streams_go_on(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    backend = CountingBackend(model)
    group = group_of(model, backend=backend)
    assert group.step([scene[0] for scene in scenes], [4.0] * CAMERAS) == CAMERAS * ((),)
    assert not backend.images
    assert [session.stamp for session in group.sessions] == [4.0] * CAMERAS


def test_cameras_share_the_model_and_nothing_that_is_remembered(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    first = session_of(model)
    first.command(SENTENCES["short"])
    first.step(scenes[0][0], 1.0)
    group = rd.CameraGroup(first, 2)
    other = group.sessions[1]
    assert group.sessions[0] is first
    assert (other.model, other.backend, other.settings) == (model, first.backend, EVERYTHING)
    assert (other.commands, other.stamp, other.track_count) == ({}, None, 0)
    other.command(SENTENCES["long"])
    ((kept,), (begun,)) = group.step([scenes[0][1], scenes[1][1]], [1.1, 50.0])
    assert (kept.track_id, begun.track_id) == (1, 1)
    assert len(first.running["command"].memory.window) == 2
    assert not first.reset_count


def test_commands_of_several_cameras_change_together_or_not_at_all(model: rd.ReferDINO) -> None:
    group = group_of(model, cameras=3)
    group.sessions[2].command("the box")
    group.set_commands({0: {"a": "the red ball"}, 1: {"a": "the red ball", "b": "the cone"}})
    assert [list(session.commands) for session in group.sessions] == [
        ["a"],
        ["a", "b"],
        ["command"],
    ]
    running = [session.running for session in group.sessions]
    with pytest.raises(rd.CommandError):
        group.set_commands({0: {}, 1: {"a": "the red ball"}, 2: {"c": "   "}})
    assert [session.running for session in group.sessions] == running


def test_settings_of_a_group_are_those_of_all_its_cameras(model: rd.ReferDINO) -> None:
    group = group_of(model, cameras=2)
    changed = rd.SessionSettings(window=4, accept=0.9)
    group.settings = changed
    assert [session.settings for session in group.sessions] == [changed, changed]
    assert group.settings == changed


def test_a_sentence_is_encoded_once_for_all_cameras(
    model: rd.ReferDINO, caplog: pytest.LogCaptureFixture
) -> None:
    group = group_of(model)
    everywhere = {camera: {"a": "the unheard-of ball"} for camera in range(CAMERAS)}
    group.set_commands(everywhere)
    texts = [session.running["a"].text for session in group.sessions]
    assert all(text is texts[0] for text in texts)
    assert len([one for one in caplog.records if "vocabulary" in one.message]) == 1
    memories = {id(session.running["a"].memory) for session in group.sessions}
    assert len(memories) == CAMERAS
