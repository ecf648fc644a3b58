# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Depth images: decoding as REP 118 allows it, and a buffer that joins them to results by stamp."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np

from referdino_core.errors import ImageError
from referdino_core.following.ranges import Ranged, quantity
from referdino_core.messages.images import Image

DEPTH_ENCODINGS = ("16UC1", "mono16", "32FC1")
"""Unsigned millimetres under two names, where 0 is invalid, and floating-point metres."""


def metres(values: np.ndarray, encoding: str) -> np.ndarray:
    """Depths in metres.

    Args:
        values: (H, W) uint16 millimetres, or floating-point metres.
        encoding: one of `DEPTH_ENCODINGS`.

    Returns:
        (H, W) float32, NaN where invalid: 0, below zero, infinite or NaN.

    Raises:
        ImageError: the encoding is no depth, or not that of the values.
    """
    if encoding not in DEPTH_ENCODINGS:
        raise ImageError(
            f"The encoding {encoding!r} is not depth. Subscribe to a depth image of encoding "
            "16UC1 (millimetres) or 32FC1 (metres) that is aligned to the colour image."
        )
    whole = encoding != "32FC1"
    if values.ndim != 2 or np.issubdtype(values.dtype, np.floating) == whole:
        raise ImageError(f"Depth of {encoding} cannot be an array {values.shape} {values.dtype}.")
    depth = values.astype(np.float32)
    if whole:
        depth *= np.float32(0.001)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def depth_from_message(message: Image) -> np.ndarray:
    """Depths of an image message, (H, W) float32 metres, NaN where invalid; rows may be padded.

    Raises:
        ImageError: the encoding is no depth, a size is zero, or the data does not fit the size.
    """
    wide = 4 if message.encoding == "32FC1" else 2
    row = message.width * wide
    if message.encoding in DEPTH_ENCODINGS:
        _check_size(message, row)
    else:
        metres(np.zeros((1, 1), np.uint16), message.encoding)
    order = ">" if message.is_bigendian else "<"
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    kind = "f4" if wide == 4 else "u2"
    return metres(np.ascontiguousarray(rows).view(f"{order}{kind}"), message.encoding)


def _check_size(message: Image, row: int) -> None:
    size = len(message.data)
    if message.height < 1 or message.width < 1:
        raise ImageError(
            f"The depth image has no pixels: it is {message.width}x{message.height}. "
            "Check the camera driver."
        )
    if message.step < row or size != message.step * message.height:
        raise ImageError(
            f"The depth image's data does not fit its size: {size} bytes in rows of "
            f"{message.step} for {message.width}x{message.height} of {message.encoding}. "
            "Check the camera driver."
        )


class Join(str, Enum):
    """Way in which a depth image was matched to a stamp.

    exact: of the same stamp. nearest: within the tolerance. pending: every depth image is older,
    so that the right one may still come. missing: there is none within the tolerance.
    """

    EXACT = "exact"
    NEAREST = "nearest"
    PENDING = "pending"
    MISSING = "missing"


@dataclass(frozen=True)
class DepthBufferSettings(Ranged):
    """Bounds of the buffer.

    Attributes:
        duration: seconds of stamps that are kept; longer than the slowest result takes.
        megabytes: memory that the images may take.
        tolerance: seconds between the stamps of colour and depth that still pass as one moment.
    """

    duration: float = quantity(2.0, 0.1, 60.0, "s")
    megabytes: float = quantity(128.0, 1.0, 4096.0, "MB")
    tolerance: float = quantity(0.02, 0.0, 0.5, "s")


@dataclass(frozen=True)
class DepthMatch:
    """Depth image of a stamp, or the reason for its absence.

    depth: (H, W) metres; None where pending or missing. gap: seconds from the stamp to that of the
    nearest depth image, None in an empty buffer. reason: what to tell a user; empty where exact.
    """

    join: Join
    depth: np.ndarray | None
    gap: float | None
    reason: str


class DepthBuffer:
    """The depth images of the last seconds, by stamp. Not thread-safe."""

    def __init__(self, settings: DepthBufferSettings | None = None) -> None:
        self.settings = settings or DepthBufferSettings()
        self._images: deque[tuple[float, np.ndarray]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._images)

    def clear(self) -> None:
        """Forget every image."""
        self._images.clear()
        self._bytes = 0

    def add(self, stamp: float, depth: np.ndarray) -> str:
        """Add a depth image; the oldest are dropped when a bound is reached.

        A stamp before the newest one's says that the clock jumped back: what was kept is forgotten.

        Returns:
            What to tell a user, or "": an unset stamp (0) is refused, a jump back is named.
        """
        if stamp <= 0:
            return "The depth image has no stamp (0). Let the camera driver stamp its images."
        told = ""
        if self._images and stamp <= self._images[-1][0]:
            back = self._images[-1][0] - stamp
            if back < self.settings.duration:
                return f"A depth image came {back:.3f} s after a newer one; it is left out."
            told = f"The depth images' stamps jumped back by {back:.3f} s; earlier ones are gone."
            self.clear()
        self._images.append((stamp, depth))
        self._bytes += depth.nbytes
        while len(self._images) > 1 and self._is_full(stamp):
            self._bytes -= self._images.popleft()[1].nbytes
        return told

    def _is_full(self, newest: float) -> bool:
        too_old = newest - self._images[0][0] > self.settings.duration
        return too_old or self._bytes > self.settings.megabytes * 1e6

    def find(self, stamp: float) -> DepthMatch:
        """The depth image of a stamp: the exact one, else the nearest within the tolerance."""
        if not self._images:
            return DepthMatch(Join.MISSING, None, None, "No depth image has come yet.")
        nearest, depth = min(self._images, key=lambda entry: abs(entry[0] - stamp))
        gap = nearest - stamp
        if gap == 0:
            return DepthMatch(Join.EXACT, depth, 0.0, "")
        if abs(gap) <= self.settings.tolerance:
            return DepthMatch(
                Join.NEAREST, depth, gap, f"The nearest depth is {1000 * gap:+.1f} ms off."
            )
        if self._images[-1][0] < stamp:
            reason = f"The newest depth image is {stamp - self._images[-1][0]:.3f} s older."
            return DepthMatch(Join.PENDING, None, gap, reason)
        return DepthMatch(
            Join.MISSING,
            None,
            gap,
            f"No depth image within {self.settings.tolerance:g} s: the nearest of {len(self)} is "
            f"{gap:+.3f} s off. Let colour and depth have equal stamps, or raise sync_tolerance.",
        )
