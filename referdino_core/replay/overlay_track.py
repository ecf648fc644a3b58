# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The overlay video of a run: one image per frame, dropped and failed frames included."""

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
    """The overlay video, written image by image.

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
        """Append an image with its targets drawn; returns it in full size, (H, W, 3) uint8 RGB.

        Args:
            pixels: (H, W, 3) uint8 RGB. targets: with masks (H, W).

        Raises:
            OutputError: the disk does not take it.
        """
        drawn = draw(pixels, targets)
        large, large_targets = enlarge(pixels, targets)
        # Small images are enlarged before text is drawn into them.
        self._latest = drawn if large is pixels else draw(large, large_targets)
        if self._video is None:
            height, width = self._latest.shape[:2]
            self._video = OptionalVideo(self._path, self._frame_rate, (width, height))
            for _ in range(self._missing):
                self._video.write(np.zeros_like(self._latest))
        self._video.write(self._latest)
        return drawn

    def repeat(self) -> None:
        """Append the latest image again, for an unreadable frame; black if there is none yet."""
        if self._video is None or self._latest is None:
            self._missing += 1
        else:
            self._video.write(self._latest)

    @property
    def problem(self) -> str:
        """Why no video was written although there were images; "" otherwise."""
        return "" if self._video is None else self._video.problem

    def finish(self) -> None:
        """Write the rest of the video, if there was an image.

        Raises:
            OutputError: the disk does not take it.
        """
        if self._video is not None:
            self._video.finish()

    def commit(self) -> None:
        """Rename the finished video to its final name, if there was an image.

        Raises:
            OutputError: it cannot be renamed.
        """
        if self._video is not None:
            self._video.commit()

    def discard(self) -> None:
        """Discard the video and remove what was written of it."""
        if self._video is not None:
            self._video.discard()
