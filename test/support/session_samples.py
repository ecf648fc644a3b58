# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A small network, images, and sessions on them, for tests of sessions."""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch
from torch.nn import init

import referdino_core as rd

HEIGHT, WIDTH = 96, 128
OPEN_GATES = {"same_appearance": -1.0, "same_place": 9.0, "same_size": 99.0}
"""Settings under which whatever a slot holds passes for its target."""


def small_model() -> rd.ReferDINO:
    """A nano-like network with fresh weights, the same ones with every release of PyTorch.

    Releases differ in what they draw for truncated normal distributions, and in how much of the
    random numbers that takes, so these are drawn from the whole distributions.
    """
    torch.manual_seed(0)
    with mock.patch.object(init, "trunc_normal_", init.normal_):
        return rd.build("nano", image_short_side=HEIGHT, num_queries=20)


def steady_images(count: int) -> list[np.ndarray]:
    """Images (HEIGHT, WIDTH, 3) uint8 of one scene, which flicker a little."""
    generator = np.random.default_rng(0)
    scene = generator.integers(0, 250, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return [
        scene + generator.integers(0, 6, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(count)
    ]


def session_that_tracks(model: rd.ReferDINO, **settings: float | str) -> rd.Session:
    """A session in which every command has a target from its first image on."""
    accepting: dict[str, float | str] = {"accept": 0.0, "keep": 0.0, "switch_margin": 1.0}
    return rd.Session(
        model,
        settings=rd.SessionSettings(**(accepting | OPEN_GATES | settings)),  # type: ignore[arg-type]
    )
