# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Data model of the world: objects, referring expressions and clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Split = Literal["train", "validation", "test"]
Kind = Literal["attribute", "location", "relation", "motion", "direction", "plural", "absent"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KINDS: tuple[Kind, ...] = (
    *("attribute", "location", "relation", "motion", "direction", "plural", "absent"),
)


@dataclass(frozen=True, eq=False)
class SceneObject:
    """An object of a clip with its true track.

    Attributes:
        shape: "ball", "box", "cylinder" or "capsule".
        colour: one of `scene.COLOURS`.
        size: "small" or "big".
        moving: whether it moves over the floor; otherwise it is exactly still.
        velocity: mean velocity in metres per second (x to the right, y away), as seen by the first
            camera pose.
        positions: (T, 3) float64, centre in the world in metres.
        image_positions: (T, 2) float64, projected centre in pixels (x, y), also while it is not
            visible.
        distances: (T,) float64, distance of the centre along the camera's axis in metres.
        areas: (T,) int64, visible pixels in the segmentation.
    """

    shape: str
    colour: str
    size: str
    moving: bool
    velocity: tuple[float, float]
    positions: np.ndarray
    image_positions: np.ndarray
    distances: np.ndarray
    areas: np.ndarray


@dataclass(frozen=True)
class Expression:
    """A sentence with its referents.

    Attributes:
        text: lower-case words of `VOCABULARY` with single spaces.
        kind: the property that determines the referent; "absent" matches nothing in any frame.
        target: 1-based object id as in the segmentation, None for kind "absent".
        candidates: ids of all objects in view that fit the static words, for the kinds motion,
            direction and absent (without the anchor of a relation); the targets for other kinds.
        others: ids of the further referents of a sentence of kind "plural".
    """

    text: str
    kind: Kind
    target: int | None
    candidates: tuple[int, ...]
    others: tuple[int, ...] = ()

    @property
    def targets(self) -> tuple[int, ...]:
        """Ids of all referents of the sentence."""
        return () if self.target is None else (self.target, *self.others)


@dataclass(frozen=True, eq=False)
class Clip:
    """A rendered clip with its ground truth.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        stamps: (T,) float64 seconds from 0.
        segmentation: (T, H, W) uint8, 0 background, k where objects[k - 1] is visible.
        camera_moves: whether the camera moves; then no expression is of kind motion or direction.
    """

    split: Split
    index: int
    frames: np.ndarray
    stamps: np.ndarray
    segmentation: np.ndarray
    objects: tuple[SceneObject, ...]
    expressions: tuple[Expression, ...]
    camera_moves: bool
