# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images in every encoding of sensor_msgs, made from RGB by the encodings' definitions."""

from __future__ import annotations

import numpy as np

from referdino_core.messages.image_encodings import PACKED


def mosaic(pixels: np.ndarray, pattern: str) -> np.ndarray:
    """(H, W) what a sensor with that pattern (such as "rggb", row by row) sees."""
    seen = np.empty(pixels.shape[:2], np.uint8)
    for place, letter in enumerate(pattern):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        seen[rows, columns] = pixels[rows, columns, "rgb".index(letter)]
    return seen


def yuv(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three (H, W) planes: BT.601, studio range, as cameras."""
    red, green, blue = (pixels[..., channel].astype(float) for channel in range(3))
    planes = (
        16 + 0.257 * red + 0.504 * green + 0.098 * blue,
        128 - 0.148 * red - 0.291 * green + 0.439 * blue,
        128 + 0.439 * red - 0.368 * green - 0.071 * blue,
    )
    light, blueness, redness = (np.round(plane).astype(np.uint8) for plane in planes)
    return light, blueness, redness


def rows_of(pixels: np.ndarray, encoding: str, big_endian: bool = False) -> np.ndarray:
    """The bytes of RGB pixels in an encoding, (R, B) uint8: all rows of all planes, unpadded.

    Grey is the red channel. R is H but for encodings of two planes.
    """
    height, width = pixels.shape[:2]
    encoding = (PACKED[encoding].meant or encoding) if encoding in PACKED else encoding
    if encoding.endswith("16"):
        wide = rows_of(pixels, encoding.replace("16", "8")).astype(np.uint16) * 257
        return wide.astype(">u2" if big_endian else "<u2").view(np.uint8)
    opaque = np.full((height, width, 1), 255, np.uint8)
    light, blueness, redness = yuv(pixels)
    columns = np.arange(width) % 2 == 0
    shared = np.where(columns, blueness, redness)
    if encoding.startswith("bayer_"):
        samples = mosaic(pixels, encoding[len("bayer_") : -1])
    elif encoding in ("uyvy", "yuv422"):
        samples = np.stack([shared, light], axis=-1)
    elif encoding in ("yuyv", "yuv422_yuy2"):
        samples = np.stack([light, shared], axis=-1)
    elif encoding in ("nv12", "nv21"):
        order = [blueness, redness] if encoding == "nv12" else [redness, blueness]
        colours = np.stack([one[::2, ::2] for one in order], axis=-1)
        samples = np.concatenate([light, colours.reshape(-1, width)])
    elif encoding == "nv24":
        colours = np.stack([blueness, redness], axis=-1).reshape(-1, width)
        samples = np.concatenate([light, colours])
    else:
        samples = {
            "rgb8": pixels,
            "bgr8": pixels[..., ::-1],
            "rgba8": np.concatenate([pixels, opaque], axis=-1),
            "bgra8": np.concatenate([pixels[..., ::-1], opaque], axis=-1),
            "mono8": pixels[..., 0],
        }[encoding]
    return np.ascontiguousarray(samples.reshape(len(samples), -1))


def padded(rows: np.ndarray, padding: int) -> np.ndarray:
    """Rows, each followed by so many bytes of 255."""
    return np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
