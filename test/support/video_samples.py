# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Videos as cameras and phones write them, made with FFmpeg for the tests of media."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MILLISECONDS = Fraction(1, 1000)


def write_frames(
    path: Path,
    images: Sequence[np.ndarray],
    milliseconds: Sequence[int],
    codec: str = "libx264",
    container: str | None = None,
    **options: str,
) -> Path:
    """A video of pictures (H, W, 3) uint8 RGB at given times."""
    with (
        path.open("wb") as file,
        av.open(file, "w", format=container or path.suffix[1:]) as video,
    ):
        stream = video.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = MILLISECONDS
        for image, time in zip(images, milliseconds, strict=True):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = time, MILLISECONDS
            video.mux(stream.encode(picture))
        video.mux(stream.encode())
    return path


def turned(path: Path, degrees: int) -> Path:
    """An .mp4 whose pictures are to be turned clockwise when they are shown, as phones write it."""
    matrices = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
    a, b, c, d = (entry << 16 for entry in matrices[degrees])
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # the matrix in the head of the track, ISO 14496-12
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def damaged(path: Path, seed: int = 1, spots: int = 6) -> Path:
    """The video with some bytes in its middle replaced."""
    data, generator = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in np.linspace(0.25, 0.75, spots):
        start = int(place * len(data))
        data[start : start + 40] = generator.integers(0, 256, 40, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    return path
