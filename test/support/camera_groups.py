# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Groups of cameras to test: backends that count, sessions, images, and what must be equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from simulated_graphs import RecordableStage, simulate_graphs
from torch import Tensor

import referdino_core as rd
from referdino_core.backends.backend import EncodedImage, FrameGrounding
from referdino_core.backends.cuda_graph import GraphedFunction
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


def small_model() -> rd.ReferDINO:
    """`nano` with random weights, at a small size."""
    torch.manual_seed(0)
    return rd.build("nano", image_short_side=HEIGHT, num_queries=20)


def drifting_scenes() -> list[list[np.ndarray]]:
    """Images for every camera, each a texture of its own that drifts."""
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
