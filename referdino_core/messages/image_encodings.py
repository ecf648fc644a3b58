# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Encodings of sensor_msgs/image_encodings.hpp: conversion to RGB, or why they are refused.

| encoding | interpreted as |
|---|---|
| rgb8, bgr8, rgba8, bgra8, mono8 | RGB; without transparency; grey three times |
| rgb16, bgr16, rgba16, bgra16, mono16 | the same, the whole range of 16 bits scaled to 8 |
| bayer_{rggb,bggr,gbrg,grbg}{8,16} | demosaiced (bilinear), 16 bits scaled to 8 |
| uyvy, yuv422; yuyv, yuv422_yuy2 | YUV 4:2:2, two pixels in four bytes |
| nv12, nv21; nv24 | a plane of Y and one of UV (nv21: VU); 4:2:0, nv24 4:4:4 |
| 8UC1; 8UC3, 8UC4; 16UC3, 16UC4 | mono8; bgr8, bgra8; bgr16, bgra16; with one warning |
| 16UC1, 32FC1 | refused: depth |
| 8UC2, 16UC2, 8SC…, 16SC…, 32SC…, other 32FC…, 64FC… | refused: no colours |

Numeric names are what cv_bridge calls "passthrough"; OpenCV keeps colours as BGR. YUV is BT.601 in
studio range (16 to 235), as cameras send it. Names that are not listed are refused.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from functools import cache

import cv2

logger = logging.getLogger("referdino.media")


@dataclass(frozen=True)
class Packed:
    """Layout of packed pixels, row by row.

    Attributes:
        channels: samples per pixel; 2 for YUV 4:2:2, where two pixels share their colour.
        conversion: OpenCV's code for 8-bit samples to RGB; None for RGB itself.
        bits: per sample, 8 or 16.
        is_mosaic: whether it is a Bayer mosaic, with one colour per pixel.
        assumed: the encoding that is assumed if the name does not tell the colours.
    """

    channels: int
    conversion: int | None
    bits: int = 8
    is_mosaic: bool = False
    assumed: str = ""

    @property
    def shares_columns(self) -> bool:
        """Whether two pixels of a row share their colour."""
        return self.channels == 2


# OpenCV names a Bayer pattern by the second and third pixel of the second row,
# ROS by the first two pixels of the first two rows.
_BAYER = {
    "bayer_rggb": Packed(1, cv2.COLOR_BayerBG2RGB, is_mosaic=True),
    "bayer_bggr": Packed(1, cv2.COLOR_BayerRG2RGB, is_mosaic=True),
    "bayer_gbrg": Packed(1, cv2.COLOR_BayerGR2RGB, is_mosaic=True),
    "bayer_grbg": Packed(1, cv2.COLOR_BayerGB2RGB, is_mosaic=True),
}
_PLAIN = {
    "rgb": Packed(3, None),
    "bgr": Packed(3, cv2.COLOR_BGR2RGB),
    "rgba": Packed(4, cv2.COLOR_RGBA2RGB),
    "bgra": Packed(4, cv2.COLOR_BGRA2RGB),
    "mono": Packed(1, cv2.COLOR_GRAY2RGB),
}
_BY_BITS = {
    f"{name}{bits}": replace(one, bits=bits)
    for name, one in {**_PLAIN, **_BAYER}.items()
    for bits in (8, 16)
}
_NUMERIC = {"8UC": "mono8", "8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
_NUMERIC |= {"16UC3": "bgr16", "16UC4": "bgra16"}

PACKED: dict[str, Packed] = {
    **_BY_BITS,
    "uyvy": Packed(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422": Packed(2, cv2.COLOR_YUV2RGB_UYVY),
    "yuyv": Packed(2, cv2.COLOR_YUV2RGB_YUY2),
    "yuv422_yuy2": Packed(2, cv2.COLOR_YUV2RGB_YUY2),
    **{name: replace(_BY_BITS[like], assumed=like) for name, like in _NUMERIC.items()},
}
SEMI_PLANAR: dict[str, int] = {
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
    "nv24": cv2.COLOR_YUV2RGB_YUY2,
}
"""Encodings of two planes, with OpenCV's code to RGB (of nv24 after packing)."""

ENCODINGS = (*PACKED, *SEMI_PLANAR)
"""Supported encodings."""

_NUMBERS = re.compile(r"(8|16|32|64)([USF])C(\d*)")
_DEPTH = frozenset({"16UC", "16UC1", "32FC", "32FC1"})
_ADVICE = "Configure the camera to publish rgb8, bgr8, mono8, yuyv, nv12, bayer_rggb8 or similar"


def holds_numbers(encoding: str) -> bool:
    """Whether the name stands for values other than colours, such as depth."""
    return encoding not in ENCODINGS and _NUMBERS.fullmatch(encoding) is not None


def refusal(encoding: str) -> str | None:
    """Why images of this encoding are refused, and what to do; None if they are supported."""
    if encoding in ENCODINGS:
        return None
    if encoding in _DEPTH:
        return (
            f"Images of encoding {encoding!r} hold depth, not colour. Subscribe to the camera's "
            "colour image; 16-bit grey is called mono16."
        )
    numbers = _NUMBERS.fullmatch(encoding)
    if numbers is None:
        return f"The image encoding {encoding!r} is unknown. {_ADVICE}."
    if encoding == "8UC2":
        return (
            "The image encoding '8UC2' does not say what the two values of a pixel are. Configure "
            "the camera to name it: uyvy or yuyv if it is YUV 4:2:2."
        )
    kind = {"U": "unsigned", "S": "signed", "F": "floating-point"}[numbers[2]]
    return (
        f"Images of encoding {encoding!r} hold {kind} {numbers[1]}-bit numbers, not colours. "
        f"{_ADVICE}."
    )


@cache
def warn_once(text: str) -> None:
    """Log a warning once that would otherwise be repeated for every image."""
    logger.warning("%s", text)
