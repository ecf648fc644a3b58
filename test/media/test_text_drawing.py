# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Texts of any language in images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from referdino_core.media import text_drawing

SENTENCES = ["die rote Kugel über dem Würfel", "красный мяч", "赤いボール", "la pelota pequeña"]
needs_opencv_5 = pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 draws ASCII alone"
)


def written(text: str) -> np.ndarray:
    image = np.zeros((40, 500, 3), np.uint8)
    text_drawing.write(image, text, 4, 28, 14, (255, 255, 255))
    return image


@needs_opencv_5
@pytest.mark.parametrize("text", SENTENCES)
def test_every_letter_has_a_shape_of_its_own(text: str) -> None:
    unlike = {written(letter).tobytes() for letter in set(text) if letter != " "}

    assert len(unlike) == len(set(text) - {" "})
    assert written("?").tobytes() not in unlike


@needs_opencv_5
@pytest.mark.parametrize("text", SENTENCES)
def test_the_measured_width_is_what_is_written(text: str) -> None:
    columns = np.flatnonzero(written(text).any(axis=(0, 2)))

    assert columns[-1] - columns[0] == pytest.approx(text_drawing.width_of(text, 14), abs=4)


@needs_opencv_5
def test_letters_and_accents_of_their_own_are_composed() -> None:
    assert np.array_equal(written("u\u0308ber"), written("\u00fcber"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("the red ball", "the red ball"),
        ("über dem Würfel", "uber dem Wurfel"),
        ("la pelota pequeña", "la pelota pequena"),
        ("красный мяч", "??????? ???"),
    ],
)
def test_what_opencv_4_can_draw_of_a_text(text: str, shown: str) -> None:
    assert text_drawing.drawable(text, draws_unicode=False) == shown


@needs_opencv_5
def test_a_shortened_text_fits() -> None:
    for text in SENTENCES:
        short = text_drawing.shorten(text, 14, 60)
        assert short.endswith("...")
        assert 30 < text_drawing.width_of(short, 14) <= 60
