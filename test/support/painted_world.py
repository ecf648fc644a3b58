# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A world of painted clips, for which no renderer is needed."""

from __future__ import annotations

import numpy as np

from referdino_core.training.recorded_world import ObjectAttributes, RecordedClip
from referdino_core.world import Expression

SIZE = (60, 80)
EXPRESSIONS = (
    Expression("the red box", "attribute", 1, (1,)),
    Expression("the ball on the left", "location", 2, (2,)),
    Expression("the object moving right", "direction", 1, (1, 2)),
    Expression("the green capsule", "absent", None, ()),
)


def clip() -> RecordedClip:
    """A red square that moves right and a blue one that stays, painted rather than rendered."""
    frames = np.full((8, *SIZE, 3), 90, np.uint8)
    segmentation = np.zeros((8, *SIZE), np.uint8)
    for time in range(8):
        red, blue = np.s_[20:36, 10 + 5 * time : 26 + 5 * time], np.s_[40:52, 4:18]
        frames[time][red], segmentation[time][red] = (220, 30, 30), 1
        frames[time][blue], segmentation[time][blue] = (30, 30, 220), 2
    objects = (ObjectAttributes("box", "red", "big"), ObjectAttributes("ball", "blue", "small"))
    return RecordedClip(frames, segmentation, np.arange(8) / 10, objects, EXPRESSIONS)


class PaintedWorld:
    """As many clips as asked for, all of them the same."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> RecordedClip:
        return clip()
