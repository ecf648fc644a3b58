# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Small images, videos and targets for the tests of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from referdino_core.target import Target, TargetState

HEIGHT, WIDTH = 48, 64


def flat_image(level: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = level, 255 - level, 64
    return image


def noisy_image(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_video(
    path: Path, frame_count: int = 12, frame_rate: float = 10.0, codec: str = "mp4v"
) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), frame_rate, (WIDTH, HEIGHT))
    assert video.isOpened()
    for index in range(frame_count):
        video.write(cv2.cvtColor(flat_image(20 * index % 256), cv2.COLOR_RGB2BGR))
    video.release()
    return path


def target(
    command_id: str = "a",
    box: tuple[float, float, float, float] | None = (10.0, 12.0, 30.0, 32.0),
    state: TargetState = TargetState.TRACKING,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    command: str = "the red ball",
) -> Target:
    mask = np.zeros(size, np.bool_)
    if box is not None:
        left, top, right, bottom = (int(coordinate) for coordinate in box)
        mask[top:bottom, left:right] = True
    return Target(
        command_id=command_id,
        command=command,
        track_id=0 if box is None else 3,
        state=state,
        score=0.875,
        frame_score=0.9,
        box=box,
        mask=mask,
    )
