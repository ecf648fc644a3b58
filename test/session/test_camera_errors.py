# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images, stamps and failures of single cameras of a group: the others go on."""

from __future__ import annotations

import numpy as np
import pytest
from camera_groups import (
    CAMERAS,
    HEIGHT,
    SENTENCES,
    WIDTH,
    CountingBackend,
    assert_same_answers,
    drifting_scenes,
    group_of,
    session_of,
    small_model,
)
from torch import Tensor

import referdino_core as rd
from referdino_core.backends.backend import EncodedImage
from referdino_core.backends.torch_backend import TorchBackend


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    return small_model()


@pytest.fixture(scope="module")
def scenes() -> list[list[np.ndarray]]:
    return drifting_scenes()


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


def test_an_invalid_stamp_is_reported_by_camera(
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
