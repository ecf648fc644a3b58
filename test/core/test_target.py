# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""target.py: the box around a mask, and the overlap of boxes and of masks."""

from __future__ import annotations

import numpy as np
import pytest

from referdino_core.target import box_around, box_overlaps, mask_overlap


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((12, 16), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_the_box_around_a_mask_ends_behind_its_last_pixel() -> None:
    assert box_around(rectangle(3, 2, 9, 7)) == (3.0, 2.0, 9.0, 7.0)
    assert box_around(rectangle(0, 0, 0, 0)) is None


def test_boxes_overlap_by_their_common_area() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1]])
    overlaps = box_overlaps(boxes, (0.0, 0.0, 2.0, 2.0))
    assert overlaps == pytest.approx([1, 1 / 3, 0, 0, 0])
    assert box_overlaps(boxes[:0], (0.0, 0.0, 2.0, 2.0)).shape == (0,)
    assert box_overlaps(np.zeros((1, 4)), (0.0, 0.0, 0.0, 0.0)).tolist() == [0]


@pytest.mark.parametrize(
    ("first", "second"), [((2, 1, 9, 7), (5, 3, 14, 11)), ((0, 0, 4, 4), (4, 0, 8, 4))]
)
def test_masks_of_rectangles_overlap_as_their_boxes(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int]
) -> None:
    (expected,) = box_overlaps(np.array([first]), np.array(second))
    assert mask_overlap(rectangle(*first), rectangle(*second)) == pytest.approx(expected)


def test_two_empty_masks_are_alike_and_one_overlaps_nothing() -> None:
    nothing = rectangle(0, 0, 0, 0)
    assert mask_overlap(nothing, nothing) == 1.0
    assert mask_overlap(nothing, rectangle(1, 1, 2, 2)) == 0.0
