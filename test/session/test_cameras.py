# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Groups of cameras answer as sessions of their own would, with their images in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from inference_cases import ROUTES, prepare_by
from simulated_graphs import RecordableStage, simulate_graphs
from torch import Tensor

import referdino_core as rd
from referdino_core.backends.backend import EncodedImage, FrameGrounding
from referdino_core.backends.cuda_graph import GraphedFunction
from referdino_core.backends.exported_backend import ExportedBackend
from referdino_core.backends.torch_backend import TorchBackend
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.text_encoder import TextFeatures

HEIGHT, WIDTH = 96, 128
FRAMES = 12
EVERYTHING = rd.SessionSettings(
    accept=0.0,
    keep=0.0,
    switch_margin=1.0,
    window=4,
    same_appearance=-1.0,
    same_place=9.0,
    same_size=99.0,
)
CAMERAS = 4
SENTENCES = {
    "short": "the ball",
    "long": "the small red box in front of the big green cylinder",
    "middle": "the cylinder to the left",
}
Answers = Sequence[Sequence[rd.Target]]


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano", image_short_side=HEIGHT, num_queries=20)


@pytest.fixture(scope="module")
def scenes() -> list[list[np.ndarray]]:
    """For every camera a texture of its own that drifts."""
    generator = np.random.default_rng(0)
    textures = [generator.integers(0, 256, (24, 24, 3), dtype=np.uint8) for _ in range(CAMERAS)]
    large = [texture.repeat(8, axis=0).repeat(8, axis=1) for texture in textures]
    return [
        [texture[n : n + HEIGHT, 3 * n : 3 * n + WIDTH] for n in range(FRAMES)] for texture in large
    ]


class CountingBackend(TorchBackend):
    """PyTorch's backend, which notes the size of every batch."""

    def __init__(self, model: rd.ReferDINO) -> None:
        super().__init__(model, "fp32")
        self.images: list[int] = []
        self.grounded: list[tuple[int, int]] = []
        self.windows: list[int] = []

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        self.images.append(len(pixels))
        return super().encode_image(pixels)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        self.grounded.append((len(image.tokens), len(text.tokens)))
        return super().ground(image, text)

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        self.windows.append(len(window.queries))
        return super().read(window, mask_features)


class OneImageBackend(CountingBackend):
    """As the exported runtimes, which know no batches of images."""

    takes_batches = False

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        assert len(pixels) == 1
        return super().encode_image(pixels)


def graphed_backend(model: rd.ReferDINO, monkeypatch: pytest.MonkeyPatch) -> TorchBackend:
    """The backend as on a GPU, over simulated CUDA graphs."""
    simulation = simulate_graphs(monkeypatch)
    backend = TorchBackend(model, "fp32")
    backend.device = torch.device("cuda")
    backend.prepare((HEIGHT, WIDTH))
    for graphed in (backend.image, backend.grounding, backend.grounding_by_rows, backend.readout):
        assert isinstance(graphed, GraphedFunction)
        graphed.function = RecordableStage(graphed.function, simulation)
    return backend


def session_of(model: rd.ReferDINO, backend: TorchBackend | None = None) -> rd.Session:
    session = rd.Session(model, settings=EVERYTHING, runtime="torch")
    session.backend = backend or session.backend
    return session


def group_of(
    model: rd.ReferDINO, cameras: int = CAMERAS, backend: TorchBackend | None = None
) -> rd.CameraGroup:
    return rd.CameraGroup(session_of(model, backend), cameras)


def change_commands(sessions: Sequence[rd.Session], frame: int) -> None:
    """Three, one, none and one command at first; others are added and removed in mid-stream."""
    if frame == 0:
        sessions[0].commands = SENTENCES
        sessions[1].command(SENTENCES["long"])
        sessions[3].command(SENTENCES["short"])
    elif frame == 4:
        sessions[0].commands = {"short": SENTENCES["short"], "new": "the box"}
        sessions[2].commands = SENTENCES
    elif frame == 9:
        sessions[1].commands = {}
        sessions[3].commands = {**sessions[3].commands, "more": SENTENCES["middle"]}


def assert_same_answers(found: Answers, expected: Answers) -> None:
    for camera, others in zip(found, expected, strict=True):
        for one, other in zip(camera, others, strict=True):
            assert (one.command_id, one.command) == (other.command_id, other.command)
            assert (one.track_id, one.state) == (other.track_id, other.state)
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.frame_score == pytest.approx(other.frame_score, abs=1e-4)
            assert one.predicted_box == pytest.approx(other.predicted_box, abs=0.05)
            assert (one.mask != other.mask).mean() < 1e-3


def assert_answers_as_separate_sessions(
    group: rd.CameraGroup,
    model: rd.ReferDINO,
    scenes: list[list[np.ndarray]],
    backend: TorchBackend | None = None,
) -> None:
    """Step a group and separate sessions; in the third camera's stream stamps jump back."""
    alone = [session_of(model, backend) for _ in range(CAMERAS)]
    answered = 0
    for frame in range(FRAMES):
        change_commands(group.sessions, frame)
        change_commands(alone, frame)
        images = [scene[frame] for scene in scenes]
        stamps = [10.0 * camera + 0.2 * frame for camera in range(CAMERAS)]
        if frame >= 7:
            stamps[2] -= 5.0
        found = group.step(images, stamps)
        expected = [
            session.step(image, stamp)
            for session, image, stamp in zip(alone, images, stamps, strict=True)
        ]
        assert_same_answers(found, expected)
        answered += sum(len(targets) for targets in found)
    assert answered > 4 * FRAMES
    assert [session.reset_count for session in group.sessions] == [0, 0, 1, 0]
    assert group.sessions[2].last_reset == alone[2].last_reset


def test_cameras_in_one_batch_answer_as_sessions_of_their_own(
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


def test_bad_images_are_one_error_that_names_the_cameras_and_no_stream_moves(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    group, alone = group_of(model), session_of(model)
    for session in (*group.sessions, alone):
        session.command(SENTENCES["short"])
    first, second = ([scene[frame] for scene in scenes] for frame in range(2))
    group.step(first)
    alone.step(first[0])
    spoilt: list[np.ndarray | None] = [*second]
    spoilt[1] = np.zeros((4, 4), np.uint8)
    spoilt[3] = np.zeros((HEIGHT, 0, 3), np.uint8)
    before = [(session.stamp, session.reset_count) for session in group.sessions]
    with pytest.raises(rd.CameraImageError, match=r"Camera 1: .* Camera 3: .*no pixels") as told:
        group.step(spoilt)
    assert told.value.cameras == (1, 3)
    assert isinstance(told.value, rd.ImageError)
    assert [(session.stamp, session.reset_count) for session in group.sessions] == before
    for camera in told.value.cameras:
        spoilt[camera] = None
    answers = group.step(spoilt)
    assert [len(targets) for targets in answers] == [1, 0, 1, 0]
    assert [session.stamp for session in group.sessions] == [0.1, 0.0, 0.1, 0.0]
    assert_same_answers(answers[:1], [alone.step(second[0])])


def test_a_stamp_that_is_no_time_is_told_by_camera(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    group = group_of(model)
    images = [scene[0] for scene in scenes]
    with pytest.raises(rd.CameraImageError, match="Camera 2: The stamp nan"):
        group.step(images, [0.0, 0.0, float("nan"), 0.0])
    assert [session.stamp for session in group.sessions] == CAMERAS * [None]


def test_other_counts_than_there_are_cameras_are_one_error(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    group = group_of(model)
    images = [scene[0] for scene in scenes]
    with pytest.raises(rd.ImageError, match="3 images were given for 4 cameras"):
        group.step(images[:3])
    with pytest.raises(rd.ImageError, match="5 stamps were given for 4 cameras"):
        group.step(images, [0.0] * 5)
    with pytest.raises(ValueError, match="at least one camera"):
        group_of(model, cameras=0)


def test_all_cameras_may_change_their_size_together(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    group = group_of(model, cameras=2)
    for session in group.sessions:
        session.command(SENTENCES["short"])
    group.step([scenes[0][0], scenes[1][0]])
    answers = group.step([np.repeat(scenes[camera][1], 2, axis=0) for camera in range(2)])
    assert [target.mask.shape for (target,) in answers] == 2 * [(2 * HEIGHT, WIDTH)]
    assert [session.reset_count for session in group.sessions] == [1, 1]


def test_images_of_several_sizes_are_a_batch_for_each_size(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    backend = CountingBackend(model)
    group, alone = group_of(model, backend=backend), session_of(model)
    for session in (*group.sessions, alone):
        session.command(SENTENCES["short"])
    for frame in range(3):
        images = [scene[frame] for scene in scenes]
        images[1] = np.repeat(images[1], 2, axis=0)
        answers = group.step(images)
        assert [targets[0].mask.shape for targets in answers] == [
            (HEIGHT, WIDTH),
            (2 * HEIGHT, WIDTH),
            (HEIGHT, WIDTH),
            (HEIGHT, WIDTH),
        ]
        assert_same_answers(answers[1:2], [alone.step(images[1])])
    assert backend.images[: 2 * 3] == 3 * [3, 1]
    assert [session.reset_count for session in group.sessions] == CAMERAS * [0]


class FailsForOneImage(TorchBackend):
    """A backend that fails whenever a black image is in the batch, as a GPU out of memory does."""

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        if bool((pixels.flatten(2).std(dim=2) == 0).all(dim=1).any()):
            raise rd.InferenceError("a black image")
        return super().encode_image(pixels)


def test_what_fails_stays_with_its_camera(
    model: rd.ReferDINO, scenes: list[list[np.ndarray]]
) -> None:
    group, alone = group_of(model, backend=FailsForOneImage(model, "fp32")), session_of(model)
    for session in (*group.sessions, alone):
        session.command(SENTENCES["short"])
    images: list[np.ndarray | None] = [scene[0] for scene in scenes]
    images[0] = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    images[2] = np.zeros((4, 4), np.uint8)
    images[3] = None
    answers = group.step_each(images)
    assert list(answers) == [0, 1, 2]
    assert_same_answers([answers[1].value()], [alone.step(scenes[1][0])])
    with pytest.raises(rd.InferenceError, match="a black image"):
        answers[0].value()
    with pytest.raises(rd.ImageError, match="4, 4"):
        answers[2].value()
    assert [session.failure_count for session in group.sessions] == [1, 0, 0, 0]
    assert [session.judgement for session in group.sessions[:2]] == [
        rd.Judgement.FAILED,
        rd.Judgement.JUDGED,
    ]
    following = group.step_each([scene[1] for scene in scenes])
    assert [len(answer.value()) for answer in following.values()] == CAMERAS * [1]
    with pytest.raises(rd.InferenceError, match="a black image"):
        group.step([np.zeros((HEIGHT, WIDTH, 3), np.uint8), None, None, None])


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
