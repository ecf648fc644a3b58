# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Small files in the formats of data sets: JPEG frames, palette PNGs, videos."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np


def write_frames(folder: Path, frames: Iterable[np.ndarray], names: Iterable[str]) -> None:
    """Frames (H, W, 3) uint8 RGB as image files; the names tell the format."""
    folder.mkdir(parents=True)
    for frame, name in zip(frames, names, strict=True):
        cv2.imwrite(str(folder / name), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


def write_palette_png(path: Path, labels: np.ndarray) -> None:
    """Labels (H, W) uint8 as DAVIS and YouTube-VOS store them: indices into a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = labels.shape
    rows = np.pad(labels, ((0, 0), (1, 0))).tobytes()
    palette = np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in parts:
        check = zlib.crc32(name + content)
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)
    path.write_bytes(data)


def write_video(path: Path, frames: np.ndarray, frame_rate: float) -> None:
    """Frames (T, H, W, 3) uint8 RGB as a video file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames.shape[1:3]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frame_rate, (width, height))
    assert video.isOpened()
    for frame in frames:
        video.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    video.release()
