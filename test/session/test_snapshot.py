# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a session: another one goes on exactly where it was taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import referdino_core as rd

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    torch.manual_seed(0)
    return rd.build("nano", image_short_side=HEIGHT, num_queries=20)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(14)]


def answers(session: rd.Session, images: list[np.ndarray], start: int) -> list[tuple]:
    found = []
    for index, image in enumerate(images[start:], start):
        for one in session.step(image, 0.1 * index):
            values = (one.command_id, one.track_id, one.state, one.score, one.frame_score, one.box)
            found.append((*values, one.mask.tobytes()))
    return found


@pytest.mark.parametrize("taken_after", [0, 1, 5, 11])
def test_a_new_session_goes_on_from_a_snapshot_exactly(
    model: rd.ReferDINO, images: list[np.ndarray], taken_after: int, tmp_path: Path
) -> None:
    # So that targets are taken up, switched and lost within a few frames.
    settings = rd.SessionSettings(accept=0.1, keep=0.05, switch_margin=0.0, hold=0.15)
    first, second = (rd.Session(model, settings=settings) for _ in range(2))
    first.commands = {"a": "the red ball", "b": "the box that moves"}
    answers(first, images[:taken_after], 0)
    torch.save(first.snapshot(), tmp_path / "snapshot.pt")

    second.restore(torch.load(tmp_path / "snapshot.pt", weights_only=True))

    assert second.commands == first.commands
    assert answers(second, images, taken_after) == answers(first, images, taken_after)
    assert second.snapshot()["track_count"] == first.snapshot()["track_count"] > 0


def test_a_snapshot_stays_as_it_was_while_the_session_goes_on(
    model: rd.ReferDINO, images: list[np.ndarray]
) -> None:
    session = rd.Session(model)
    session.command("the red ball")
    answers(session, images[:6], 0)
    snapshot = session.snapshot()
    after = answers(session, images, 6)

    session.command("another one")
    session.restore(snapshot)

    assert answers(session, images, 6) == after
