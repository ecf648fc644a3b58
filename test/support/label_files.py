# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Label images as data sets keep them, for the tests of ground truth."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

PALETTE, GREY, COLOUR = 3, 0, 2


def write_labels(path: Path, labels: np.ndarray, depth: int = 8, kind: int = PALETTE) -> Path:
    """Write (H, W) numbers as a PNG file with a palette, or in grey, of 1 to 16 bits."""
    height, width = labels.shape
    if depth == 16:
        rows = labels.astype(">u2").view(np.uint8).reshape(height, -1)
    elif depth == 8:
        rows = labels.astype(np.uint8)
    else:
        bits = np.unpackbits(labels.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    # Each row is written as its difference to the one above (filter 2), as encoders like to.
    filtered = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1])).astype(np.uint8)
    picture = np.concatenate([np.full((height, 1), 2, np.uint8), filtered], axis=1)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if kind == PALETTE:
        colours = np.random.default_rng(0).integers(0, 256, (2**depth, 3), dtype=np.uint8)
        chunks += [(b"PLTE", colours.tobytes()), (b"tRNS", bytes(2**depth))]
    chunks += [(b"IDAT", zlib.compress(picture.tobytes())), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))
    return path


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check
