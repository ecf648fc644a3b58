# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The program `referdino` as a process, and a small video for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
from repository import REPOSITORY

HEIGHT, WIDTH, FRAME_COUNT = 120, 160, 7
PROGRAM = [sys.executable, "-m", "referdino_core.cli"]


def scene(index: int) -> np.ndarray:
    """A red ball that rolls to the right in front of a blue box, as BGR."""
    image = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    cv2.rectangle(image, (95, 40), (135, 85), (200, 60, 30), cv2.FILLED)
    cv2.circle(image, (40 + 3 * index, 75), 16, (30, 30, 210), cv2.FILLED)
    return image


def write_video(path: Path, frame_count: int = FRAME_COUNT) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    assert video.isOpened()
    for index in range(frame_count):
        video.write(scene(index))
    video.release()
    return path


def environment() -> dict[str, str]:
    """The environment of a program that finds this checkout first and leaves cores to others."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def error_line(captured: str) -> str:
    """The one line that reports an error; nothing else may look like one."""
    assert "Traceback" not in captured
    errors = [line for line in captured.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, captured
    assert errors[0].startswith("referdino: error: ")
    return errors[0]
