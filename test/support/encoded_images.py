# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images in every encoding of sensor_msgs, made from RGB by the encodings' definitions."""

from __future__ import annotations

import numpy as np

from referdino_core.messages.image_encodings import PACKED, SEMI_PLANAR


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
    encoding = (PACKED[encoding].assumed or encoding) if encoding in PACKED else encoding
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


HEIGHT, WIDTH = 24, 32
RED, GREEN, BLUE = (200, 30, 40), (20, 180, 60), (50, 60, 210)


def blocks() -> np.ndarray:
    """(H, W, 3) RGB of four areas, large enough for encodings that share colour between pixels."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:12, :16], pixels[:12, 16:] = RED, GREEN
    pixels[12:, :16], pixels[12:, 16:] = BLUE, (128, 128, 128)
    return pixels


def assert_shows_the_blocks(converted: np.ndarray, encoding: str) -> None:
    """Compare colours inside the four areas, since demosaicing mixes them along edges."""
    wanted = blocks()
    is_grey = encoding in ("mono8", "mono16", "8UC", "8UC1")
    wanted = np.repeat(wanted[..., :1], 3, axis=-1) if is_grey else wanted
    tolerance = 3 if encoding in (*SEMI_PLANAR, "yuv422", "uyvy", "yuv422_yuy2", "yuyv") else 0
    assert converted.shape == (HEIGHT, WIDTH, 3)
    assert converted.dtype == np.uint8
    for rows in (slice(3, 9), slice(15, 21)):
        for columns in (slice(3, 13), slice(19, 29)):
            difference = np.abs(converted[rows, columns].astype(int) - wanted[rows, columns])
            assert difference.max() <= tolerance
