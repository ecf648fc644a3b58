# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What one frame shows of a command's slots: their readout, and the objects that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from referdino_core.configuration import SessionSettings
from referdino_core.target import box_overlaps

MIN_EVIDENCE = 2
"""The newest images that always count as evidence, however old they are."""
MIN_WITNESSES = 3
"""Fewest slots whose common shift counts as motion of the camera."""
MIN_SHIFT = 0.02
"""Smallest displacement of the scene between two images that counts, as a fraction of the image."""
MAX_LONE_SPEED = 1.6
"""Displacement per second, as a fraction of the image, above which one object is no witness."""
SAME_SHIFT = 0.05
"""Difference of two displacements below which they are the same."""
SAME_OBJECT_OVERLAP = 0.5
"""Intersection over union of two slots' boxes above which they hold the same object."""
MIN_SIDE = 1e-3
"""Smallest side of a box, as a fraction of the image; keeps the logarithm of its area finite."""
BORDER = 0.01
"""Distance from the image's border, as a fraction of the image, below which it cuts a box off."""


@dataclass(frozen=True)
class SlotReadings:
    """Readout of one command's slots in the newest frame, on the host.

    Attributes:
        stamp: seconds.
        scores: (T, Q) probabilities of the window's frames, newest last.
        ages: (T,) seconds before the newest frame.
        boxes: (Q, 4) left, top, right, bottom in [0, 1].
        queries: (Q, d) unit vectors.
    """

    stamp: float
    scores: np.ndarray
    ages: np.ndarray
    boxes: np.ndarray
    queries: np.ndarray

    @cached_property
    def objects(self) -> Objects:
        """The objects in all slots."""
        return Objects.of(self)

    @property
    def newest(self) -> np.ndarray:
        """(Q,) probabilities of the newest frame."""
        return self.scores[-1]

    def average(self, seconds: float) -> np.ndarray:
        """(Q,) mean probabilities over the frames of the last `seconds`."""
        return self.scores[self.ages <= seconds].mean(axis=0)

    def supported(self, settings: SessionSettings) -> np.ndarray:
        """(Q,) bool: whether the newest frame and enough of the recent ones score `accept`."""
        recent = self.ages <= settings.take_up
        recent[-MIN_EVIDENCE:] = True
        lately = self.scores[recent] >= settings.accept
        return lately[-1] & (lately.mean(axis=0) >= settings.take_up_share)


@dataclass(frozen=True)
class Objects:
    """Appearance, position and size of K objects.

    Attributes:
        queries: (K, d) unit vectors, the appearance.
        centres: (K, 2) box centres, as fractions of the image.
        log_sides: (K, 2) natural logarithms of the widths and heights of the boxes.
        inside: (K, 2, 2) bool: whether the left and right, top and bottom edges are in the image;
            the others are where its border cuts the box off.
    """

    queries: np.ndarray
    centres: np.ndarray
    log_sides: np.ndarray
    inside: np.ndarray

    @classmethod
    def of(cls, readings: SlotReadings, slots: np.ndarray | slice = slice(None)) -> Objects:
        """The objects in some slots."""
        boxes = readings.boxes[slots]
        starts, ends = boxes[:, :2], boxes[:, 2:]
        sides = np.maximum(ends - starts, MIN_SIDE)
        inside = np.stack([starts >= BORDER, ends <= 1.0 - BORDER], axis=2)
        return cls(readings.queries[slots], (starts + ends) / 2, np.log(sides), inside)

    @property
    def edges(self) -> np.ndarray:
        """(K, 2, 2) left and right, top and bottom edges, as fractions of the image."""
        return self.centres[:, :, None] + np.exp(self.log_sides)[:, :, None] * (-0.5, 0.5)

    def changes(self, other: Objects) -> np.ndarray:
        """(K, M, 3) displacement x and y of these from other objects, and growth of the log area.

        Where the image's border cuts one of two boxes off, the opposite edge alone tells how far
        the object has moved along this axis, and nothing tells how much it has grown.
        """
        both = self.inside[:, None] & other.inside[None]
        whole = both.all(axis=3)
        edges = self.edges[:, None] - other.edges[None]
        visible = np.where(both[..., 0], edges[..., 0], edges[..., 1])
        centres = self.centres[:, None] - other.centres[None]
        moved = np.where(both.any(axis=3) & ~whole, visible, centres)
        grown = np.where(whole, self.log_sides[:, None] - other.log_sides[None], 0.0)
        return np.concatenate([moved, grown.sum(axis=2, keepdims=True)], axis=2)

    def differences(self, other: Objects) -> np.ndarray:
        """(3, K, M) differences in appearance, position and size between these and other objects.

        They are one minus the cosine of the queries, the distance, and the difference of the
        logarithms of the areas, the latter two as far as the image's border lets them be seen.
        """
        changes = self.changes(other)
        return np.stack(
            [
                1.0 - self.queries @ other.queries.T,
                np.linalg.norm(changes[..., :2], axis=2),
                np.abs(changes[..., 2]),
            ]
        )

    def changed(self, displacement: np.ndarray, growth: float = 0.0) -> Objects:
        """The objects displaced by (2,), with log areas that have grown."""
        return replace(
            self, centres=self.centres + displacement, log_sides=self.log_sides + growth / 2
        )

    def snapshot(self) -> dict[str, Any]:
        """The objects as plain data for `torch.save`, exact to the bit."""
        return {name: torch.from_numpy(array.copy()) for name, array in vars(self).items()}

    @classmethod
    def from_snapshot(cls, plain: Mapping[str, Any]) -> Objects:
        """The objects of a snapshot."""
        return cls(**{name: tensor.numpy() for name, tensor in plain.items()})


def camera_shift(
    before: Objects, now: Objects, elapsed: float, same_appearance: float
) -> np.ndarray:
    """(2,) displacement of the scene between two frames, as fractions of the image.

    It is the median displacement of all slots that hold an object of the same appearance in both
    frames; 0 where these are too few, where it is no more than the noise of boxes, and where it is
    fast but not shared by two objects: when an object disappears, its slots jump to another one.

    Args:
        before, now: the objects in the same Q slots.
        elapsed: seconds between the frames.
        same_appearance: cosine from which two queries are of one object.
    """
    alike = (before.queries * now.queries).sum(axis=1) >= same_appearance
    if np.count_nonzero(alike) < MIN_WITNESSES:
        return np.zeros(2)
    moved = now.centres - before.centres
    shift: np.ndarray = np.median(moved[alike], axis=0)
    if np.linalg.norm(shift) < MIN_SHIFT:
        return np.zeros(2)
    if np.linalg.norm(shift) > MAX_LONE_SPEED * elapsed:
        agree = alike & (np.linalg.norm(moved - shift, axis=1) <= SAME_SHIFT)
        boxes = np.concatenate([before.edges[..., 0], before.edges[..., 1]], axis=1)[agree]
        if not len(boxes) or (box_overlaps(boxes, boxes[0]) > SAME_OBJECT_OVERLAP).all():
            return np.zeros(2)
    return shift
