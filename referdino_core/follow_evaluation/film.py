# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A film of an episode: the view from above with the path, the camera with the mask, two plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from referdino_core.follow_evaluation.running import Moment
from referdino_core.media import overlay, text_drawing
from referdino_core.media.writers import VideoWriter
from referdino_core.simulation import RGBDCamera, Simulation, open_overhead
from referdino_core.simulation.room import OVERHEAD_SIZE, overhead_pixels
from referdino_core.target import Target

_CAMERA_HEIGHT = 360
_PLOT_HEIGHT = 150
_MARGIN, _TITLE_HEIGHT, _TEXT_HEIGHT = 12, 14, 11
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
        episode = self._simulation.episode
        view = View(
            self._sentence,
            moment.said,
            self._times,
            self._distances,
            np.array(self._speeds),
            max(episode.duration, 1.0),
            episode.distance,
        )
        return compose(above, moment.frame.colour, [moment.target], view)


@dataclass(frozen=True, eq=False)
class View:
    """What is written and plotted beside the images.

    Attributes:
        title, said: the sentence, and what the robot says.
        times: seconds, (T,). distances: metres, (T,), NaN for none. speeds: (T, 2), m/s and rad/s.
        end: seconds at the right border of the plots.
        asked: metres that are to be kept.
    """

    title: str
    said: str
    times: Sequence[float]
    distances: Sequence[float]
    speeds: np.ndarray
    end: float
    asked: float


def compose(
    above: np.ndarray, camera: np.ndarray, targets: Sequence[Target], view: View
) -> np.ndarray:
    """A picture of a film, `SIZE` as (H, W, 3) uint8 RGB.

    Args:
        above: (OVERHEAD_SIZE, OVERHEAD_SIZE, 3), the view from above.
        camera: (H, W, 3), the robot's image, of any size. targets: whose masks are drawn over it.
    """
    image, drawn = overlay.enlarge(camera, targets, OVERHEAD_SIZE)
    seen = overlay.draw(image, drawn)[:_CAMERA_HEIGHT]
    words = _caption(view.title, view.said)
    right = np.concatenate([seen, words])
    distance = plot(
        ["distance, m"], view.times, [view.distances], view.end, (0.0, 5.0), level=view.asked
    )
    speeds = list(view.speeds.T)
    titles = ["forward, m/s", "turning, rad/s"]
    speed = plot(titles, view.times, speeds, view.end, (-0.9, 0.9), level=0.0)
    top = np.concatenate([above, right], axis=1)
    return np.concatenate([top, np.concatenate([distance, speed], axis=1)])


def draw_path(image: np.ndarray, path: Sequence[tuple[float, float]]) -> None:
    """Draw a way over the floor, in metres of the world, into a view from above, in place."""
    pixels = overhead_pixels(np.array(path)).round().astype(np.int32)
    cv2.polylines(image, [pixels], False, _PATH, 2, cv2.LINE_AA)


def plot(
    titles: Sequence[str],
    times: Sequence[float],
    curves: Sequence[Sequence[float] | np.ndarray],
    end: float,
    span: tuple[float, float],
    level: float,
) -> np.ndarray:
    """Curves over time, (150, 480, 3) uint8 RGB.

    Args:
        titles: of the curves.
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
        text_drawing.write(image, f"{value:.1f}", 6, height + 4, 10, _TEXT)
    columns = left + np.asarray(times) / end * (right - left)
    place = left
    for title, curve, colour in zip(titles, curves, (_FIRST, _SECOND), strict=False):
        text_drawing.write(image, title, place, 17, _TEXT_HEIGHT, colour)
        place += text_drawing.width_of(title, _TEXT_HEIGHT) + 20
        values = np.asarray(curve, np.float64)
        drawn = np.isfinite(values)
        points = np.stack([columns, row(np.nan_to_num(values))], axis=1)[drawn]
        cv2.polylines(image, [points.round().astype(np.int32)], False, colour, 1, cv2.LINE_AA)
    text_drawing.write(image, f"{end:.0f} s", right - 34, _PLOT_HEIGHT - 4, 10, _TEXT)
    return image


def _caption(title: str, said: str) -> np.ndarray:
    image = np.full((OVERHEAD_SIZE - _CAMERA_HEIGHT, OVERHEAD_SIZE, 3), _BACKGROUND, np.uint8)
    text_drawing.write(image, title, _MARGIN, 26, _TITLE_HEIGHT, _PATH)
    for number, line in enumerate(_wrapped(said, OVERHEAD_SIZE - 2 * _MARGIN)[:4]):
        text_drawing.write(image, line, _MARGIN, 50 + 20 * number, _TEXT_HEIGHT, _TEXT)
    return image


def _wrapped(text: str, widest: int) -> list[str]:
    """Lines of at most so many pixels, broken between words."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_drawing.width_of(longer, _TEXT_HEIGHT) > widest:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
