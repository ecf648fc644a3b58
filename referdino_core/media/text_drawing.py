# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Text drawing into images, with the size in pixels.

OpenCV 5 draws Unicode with its own fonts. OpenCV 4 draws only ASCII: accents are left out there,
and letters of other scripts become question marks.
"""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np

Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_THICKNESS = 1
_ELLIPSIS = "..."
_SAMPLE = "Hg"
_DRAWS_UNICODE = int(cv2.__version__.split(".")[0]) >= 5


def text_height(image: np.ndarray) -> int:
    """A readable height of capital letters in pixels, for an image (H, W, …)."""
    return round(6 + min(image.shape[:2]) / 60)


def width_of(text: str, height: int) -> int:
    """The width in pixels of a text whose capitals are `height` pixels tall."""
    (width, _), _ = cv2.getTextSize(drawable(text), _FONT, _scale(height), _THICKNESS)
    return width


def shorten(text: str, height: int, widest: int) -> str:
    """The text, shortened with an ellipsis to fit into `widest` pixels."""
    text = " ".join(text.split())
    if width_of(text, height) <= widest:
        return text
    fitting, too_long = 0, len(text)
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if width_of(text[:middle].rstrip() + _ELLIPSIS, height) <= widest:
            fitting = middle
        else:
            too_long = middle
    return text[:fitting].rstrip() + _ELLIPSIS


def write(
    image: np.ndarray, text: str, left: int, baseline: int, height: int, colour: Colour
) -> None:
    """Draw a text into an image (H, W, 3) uint8, in place, starting at a point on its baseline."""
    cv2.putText(
        image,
        drawable(text),
        (left, baseline),
        _FONT,
        _scale(height),
        colour,
        _THICKNESS,
        cv2.LINE_AA,
    )


def drawable(text: str, draws_unicode: bool = _DRAWS_UNICODE) -> str:
    """The text with composed accents, or reduced to ASCII.

    Args:
        text: any text.
        draws_unicode: whether OpenCV can draw more than ASCII.
    """
    if draws_unicode:
        return unicodedata.normalize("NFC", text)
    letters = (one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return "".join(one if one.isascii() else "?" for one in letters)


def _scale(height: int) -> float:
    (_, height_at_scale_one), _ = cv2.getTextSize(_SAMPLE, _FONT, 1.0, _THICKNESS)
    return height / height_at_scale_one
