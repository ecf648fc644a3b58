# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The overlay video of a run: one picture per frame, whatever became of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from referdino_core.files import Output
from referdino_core.media.overlay import draw, enlarge
from referdino_core.media.writers import OptionalVideo

if TYPE_CHECKING:
    from referdino_core.target import Target


class OverlayTrack(Output):
    """Draws targets over the images of a run.

    Args:
        path: of the video. frame_rate: frames per second.
    """

    def __init__(self, path: Path, frame_rate: float) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self._video: OptionalVideo | None = None
        self._missing = 0
        self._latest: np.ndarray | None = None

    def write(self, pixels: np.ndarray, targets: Sequence[Target]) -> np.ndarray:
        """Append a picture; returns it in the size of the image, (H, W, 3) uint8 RGB.

        Args:
            pixels: (H, W, 3) uint8 RGB. targets: with masks (H, W).

        Raises:
            OutputError: the disk does not take it.
        """
        picture = draw(pixels, targets)
        large, large_targets = enlarge(pixels, targets)
        # Small images are enlarged before lettering is written into them.
        self._latest = picture if large is pixels else draw(large, large_targets)
        if self._video is None:
            height, width = self._latest.shape[:2]
            self._video = OptionalVideo(self._path, self._frame_rate, (width, height))
            for _ in range(self._missing):
                self._video.write(np.zeros_like(self._latest))
        self._video.write(self._latest)
        return picture

    def repeat(self) -> None:
        """Append the latest picture again, for a frame that cannot be read; black before one."""
        if self._video is None or self._latest is None:
            self._missing += 1
        else:
            self._video.write(self._latest)

    @property
    def problem(self) -> str:
        """Why there is no video though there were images; an empty text where there is one."""
        return "" if self._video is None else self._video.problem

    def finish(self) -> None:
        """Write what is missing of the video, where there was an image.

        Raises:
            OutputError: the disk does not take it.
        """
        if self._video is not None:
            self._video.finish()

    def commit(self) -> None:
        """Give the finished video its name, where there was an image.

        Raises:
            OutputError: it cannot be renamed.
        """
        if self._video is not None:
            self._video.commit()

    def discard(self) -> None:
        """Give the video up and remove what was written of it."""
        if self._video is not None:
            self._video.discard()
