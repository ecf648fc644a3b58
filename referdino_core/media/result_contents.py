# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What result messages say of targets, whoever builds the messages: the node or a bag's writer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from referdino_core.session import Target


@dataclass(frozen=True)
class Region:
    """Whole pixels, as in `sensor_msgs/RegionOfInterest`."""

    x_offset: int
    y_offset: int
    width: int
    height: int


@dataclass(frozen=True)
class Detection:
    """A target that is seen, as in `vision_msgs/Detection2D`.

    Attributes:
        track_id: identity of the object, as text.
        sentence: the command's text, which stands for a class.
        score: 0 to 1.
        centre, size: (x, y) of the box in pixels.
    """

    track_id: str
    sentence: str
    score: float
    centre: tuple[float, float]
    size: tuple[float, float]


def region_around(box: tuple[float, float, float, float] | None, height: int, width: int) -> Region:
    """Whole pixels that cover the box, inside an image of that size; all zero without a box."""
    if box is None:
        return Region(0, 0, 0, 0)
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return Region(left, top, max(0, right - left), max(0, bottom - top))


def label_image(targets: Sequence[Target], height: int, width: int) -> np.ndarray:
    """The pixels of `~/mask`: (H, W) uint8, 0 background, k where the k-th target is.

    Where masks overlap, the target that is listed first wins.
    """
    labels = np.zeros((height, width), np.uint8)
    for number, target in reversed(list(enumerate(targets, start=1))):
        labels[target.mask] = number
    return labels


def detections_of(targets: Sequence[Target]) -> list[Detection]:
    """One detection per target that is seen in the image, in their order."""
    detections = []
    for target in targets:
        if target.box is None:
            continue
        left, top, right, bottom = target.box
        detections.append(
            Detection(
                str(target.track_id),
                target.command,
                float(target.score),
                ((left + right) / 2.0, (top + bottom) / 2.0),
                (float(right - left), float(bottom - top)),
            )
        )
    return detections
