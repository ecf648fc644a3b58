# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A film of an episode: the view from above with the path, the camera with the mask, two plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from referdino_core.follow_evaluation.running import Moment
from referdino_core.media import overlay, text_drawing
from referdino_core.media.writers import VideoWriter
from referdino_core.simulation import RGBDCamera, Simulation, open_overhead
from referdino_core.simulation.room import OVERHEAD_SIZE, overhead_pixels

_CAMERA_HEIGHT = 360
_PLOT_HEIGHT = 150
_BACKGROUND, _GRID, _TEXT = (24, 24, 27), (63, 63, 70), (228, 228, 231)
_PATH, _ASKED, _FIRST, _SECOND = (255, 196, 46), (120, 120, 128), (64, 196, 255), (255, 128, 66)
SIZE = (2 * OVERHEAD_SIZE, OVERHEAD_SIZE + _PLOT_HEIGHT)
"""Width and height of a picture."""


class Film:
    """A video of an episode as it runs; a context manager that is called with every moment."""

    def __init__(
        self, path: Path, simulation: Simulation, sentence: str, frame_rate: float
    ) -> None:
        """Open the video and the camera above.

        Raises:
            OutputError: the video cannot be written.
        """
        self._simulation, self._sentence = simulation, sentence
        self._camera: RGBDCamera = open_overhead(simulation.room)
        self._writer = VideoWriter(path, frame_rate, SIZE)
        self._path: list[tuple[float, float]] = []
        self._times: list[float] = []
        self._distances: list[float] = []
        self._speeds: list[tuple[float, float]] = []

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._camera.close()
        self._writer.__exit__(kind, error, trace)

    def __call__(self, moment: Moment) -> None:
        """Add a picture."""
        simulation = self._simulation
        pose, target = simulation.drive.pose, simulation.episode.target
        self._path.append((pose.x, pose.y))
        self._times.append(simulation.elapsed)
        truth = np.nan if target is None else simulation.truth(target).distance
        self._distances.append(truth)
        velocity = simulation.drive.velocity
        self._speeds.append((velocity.linear, velocity.angular))
        self._writer.write(self._picture(moment))

    def _picture(self, moment: Moment) -> np.ndarray:
        above = self._simulation.overhead(self._camera)
        draw_path(above, self._path)
        image, targets = overlay.enlarge(moment.frame.colour, [moment.target], OVERHEAD_SIZE)
        camera = overlay.draw(image, targets)[:_CAMERA_HEIGHT]
        words = _caption([self._sentence, *_wrapped(moment.said, 60)])
        right = np.concatenate([camera, words])
        end = max(self._simulation.episode.duration, 1.0)
        asked = self._simulation.episode.distance
        distance = plot("distance, m", self._times, [self._distances], end, (0.0, 5.0), level=asked)
        speeds = np.array(self._speeds).T
        speed = plot("speed, m/s and rad/s", self._times, list(speeds), end, (-0.9, 0.9), level=0.0)
        top = np.concatenate([above, right], axis=1)
        return np.concatenate([top, np.concatenate([distance, speed], axis=1)])


def draw_path(image: np.ndarray, path: Sequence[tuple[float, float]]) -> None:
    """Draw a way over the floor, in metres of the world, into a view from above, in place."""
    pixels = overhead_pixels(np.array(path)).round().astype(np.int32)
    cv2.polylines(image, [pixels], False, _PATH, 2, cv2.LINE_AA)


def plot(
    title: str,
    times: Sequence[float],
    curves: Sequence[Sequence[float] | np.ndarray],
    end: float,
    span: tuple[float, float],
    level: float,
) -> np.ndarray:
    """Curves over time, (150, 480, 3) uint8 RGB.

    Args:
        end: seconds at the right border.
        span: values at the lower and upper border.
        level: value of a line across.
    """
    image = np.full((_PLOT_HEIGHT, OVERHEAD_SIZE, 3), _BACKGROUND, np.uint8)
    left, right, top, bottom = 44, OVERHEAD_SIZE - 12, 26, _PLOT_HEIGHT - 18

    def row(value: np.ndarray | float) -> np.ndarray:
        share = (np.clip(value, *span) - span[0]) / (span[1] - span[0])
        return bottom - share * (bottom - top)

    for value in (*span, level):
        height = int(row(value))
        colour = _ASKED if value == level else _GRID
        cv2.line(image, (left, height), (right, height), colour, 1)
        text_drawing.write(image, f"{value:.1f}", 6, height + 4, 8, _TEXT)
    columns = left + np.asarray(times) / end * (right - left)
    for curve, colour in zip(curves, (_FIRST, _SECOND), strict=False):
        values = np.asarray(curve, np.float64)
        drawn = np.isfinite(values)
        points = np.stack([columns, row(np.nan_to_num(values))], axis=1)[drawn]
        cv2.polylines(image, [points.round().astype(np.int32)], False, colour, 1, cv2.LINE_AA)
    text_drawing.write(image, title, left, 16, 9, _TEXT)
    text_drawing.write(image, f"{end:.0f} s", right - 30, _PLOT_HEIGHT - 5, 8, _TEXT)
    return image


def _caption(lines: Sequence[str]) -> np.ndarray:
    image = np.full((OVERHEAD_SIZE - _CAMERA_HEIGHT, OVERHEAD_SIZE, 3), _BACKGROUND, np.uint8)
    for number, line in enumerate(lines[:5]):
        height = 11 if number == 0 else 9
        colour = _PATH if number == 0 else _TEXT
        text_drawing.write(image, line, 12, 24 + 21 * number, height, colour)
    return image


def _wrapped(text: str, most: int) -> list[str]:
    """Lines of at most so many characters, broken between words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
