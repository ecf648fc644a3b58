# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Predicates over the objects of a clip, with margins: true, false, or undecided.

Every predicate consists of two boolean arrays over the objects: `sure` where it is true with a
margin in every relevant frame, `sure_not` where it is false with a margin. In between it is too
close to call, and no sentence is generated that could refer to the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from referdino_core.world.clip import SceneObject
from referdino_core.world.settings import WorldSettings

VISIBLE_AREA = 15
"""Pixels of a 160-pixel-wide image below which an object counts as absent from a frame."""
TARGET_AREA = 40
"""Minimum pixels of a target in most frames, in such an image."""
NOTICED_AREA = 5
"""Pixels in any frame from which an object is a distractor, in such an image."""
VIEW_MARGIN = 0.12
"""Minimum horizontal distance of left from right, as a fraction of the image width."""
DIRECTION_SPEED = 25 / 1.1
"""Minimum speed of objects moving left or right, in pixels of such an image per second."""
MOVING_SPEED = 12 / 1.1
"""Minimum speed of moving objects, in pixels of such an image per second."""


@dataclass(frozen=True)
class Verdict:
    """A predicate over the objects: `sure` and `sure_not`, (K,) bool, never both."""

    sure: np.ndarray
    sure_not: np.ndarray


class Observation:
    """Measurements from the ground truth of a clip, on which predicates are evaluated.

    Attributes:
        objects: K objects with tracks over T frames.
        camera_moves: whether the camera moves.
        in_view: (K,) bool, whether any pixel is visible in any frame.
        noticed: (K,) bool, whether enough pixels are visible to be a distractor.
        eligible: (K,) bool, whether the object may be a target: large enough in more than half of
            the frames.
        visible: (K, T) bool.
    """

    def __init__(
        self, objects: tuple[SceneObject, ...], settings: WorldSettings, camera_moves: bool
    ) -> None:
        self.objects = objects
        self.camera_moves = camera_moves
        self.settings = settings
        area_scale = settings.pixel_scale**2
        areas = np.stack([item.areas for item in objects]) / area_scale
        self.visible = areas >= VISIBLE_AREA
        self.in_view = areas.max(axis=1) > 0
        self.noticed = areas.max(axis=1) >= NOTICED_AREA
        self.eligible = (areas >= TARGET_AREA).mean(axis=1) > 0.5
        self._columns = np.stack([item.image_positions[:, 0] for item in objects]) / settings.width
        self._rows = np.stack([item.image_positions[:, 1] for item in objects]) / settings.width
        self._distances = np.stack([item.distances for item in objects])
        self._ground = np.stack([item.positions[:, :2] for item in objects])
        self._half_widths = np.stack([_half_widths(item) for item in objects]) / settings.width

    def superlative(self, word: str, members: np.ndarray) -> int | None:
        """The object that is "left", "right", "middle", "closest" or "farthest"; None without one.

        It must be visible in every frame, and be ahead in every frame by 12 % of the image width,
        or by 15 % and 0.35 m of distance.

        Args:
            word: one of these words.
            members: indices of at least two objects.
        """
        for winner in members:
            others = members[members != winner]
            if not (self.eligible[winner] and self.visible[winner].all()):
                continue
            if self._wins(word, winner, others):
                return int(winner)
        return None

    def _wins(self, word: str, winner: int, others: np.ndarray) -> bool:
        own, rest = self._columns[winner], self._columns[others]
        if word == "left":
            return bool((rest - own >= VIEW_MARGIN).all() and (own < 0.5).all())
        if word == "right":
            return bool((own - rest >= VIEW_MARGIN).all() and (own > 0.5).all())
        if word == "middle":
            flanked = (rest < own).any(axis=0) & (rest > own).any(axis=0)
            off, rest_off = np.abs(own - 0.5), np.abs(rest - 0.5)
            central = (off < 0.14) & (rest_off - off >= VIEW_MARGIN).all(axis=0)
            return bool((flanked & central).all())
        own, rest = self._distances[winner], self._distances[others]
        if word == "closest":
            return bool((rest > np.maximum(1.15 * own, own + 0.35)).all())
        return bool((own > np.maximum(1.15 * rest, rest + 0.35)).all())

    def relation(self, word: str, anchor: int) -> Verdict:
        """Which objects are "left", "right", "behind", in "front" of, or "next" to the anchor.

        Left and right: by 12 % of the image width. Behind and in front: 0.35 m farther or nearer,
        in overlapping image columns. Next to: centres within 0.95 m on the floor, side by side.
        Relevant frames are those in which the object or the anchor is visible.
        """
        right_by = self._columns - self._columns[anchor]
        beyond = self._distances - self._distances[anchor]
        reach = self._half_widths + self._half_widths[anchor]
        if word in ("left", "right"):
            signed = right_by if word == "right" else -right_by
            sure, sure_not = signed >= VIEW_MARGIN, signed <= 0.02
        elif word in ("behind", "front"):
            signed = beyond if word == "behind" else -beyond
            sure = (signed >= 0.35) & (np.abs(right_by) <= 0.7 * reach)
            sure_not = (signed <= 0.1) | (np.abs(right_by) >= 1.2 * reach + 0.015)
        else:
            apart = np.linalg.norm(self._ground - self._ground[anchor], axis=2)
            sure = (apart <= 0.95) & (np.abs(beyond) <= 0.3) & (np.abs(right_by) >= 0.5 * reach)
            sure_not = apart >= 1.35
        counts = self.visible | self.visible[anchor]
        verdict = Verdict((sure | ~counts).all(axis=1), (sure_not | ~counts).all(axis=1))
        verdict.sure[anchor] = False
        verdict.sure_not[anchor] = True
        return verdict

    def motion(self) -> Verdict:
        """Which objects move; false only for objects that are exactly still."""
        travels = self._travels()
        speeds = np.hypot(travels[:, 0], travels[:, 1])
        moving = np.array([item.moving for item in self.objects])
        return Verdict(moving & (speeds >= MOVING_SPEED), ~moving)

    def direction(self, side: str) -> Verdict:
        """Which objects move to the "left" or "right" in the image in every frame that shows them.

        The mean speed is at least `DIRECTION_SPEED` and never less than half of it.
        """
        sign = 1.0 if side == "right" else -1.0
        steps = sign * np.diff(self._columns, axis=1) / self._frame_seconds
        steps = steps * (self.settings.width / self.settings.pixel_scale)
        seen = self.visible[:, 1:] | self.visible[:, :-1]
        moving = np.array([item.moving for item in self.objects])
        steady = ((steps > 0.5 * DIRECTION_SPEED) | ~seen).all(axis=1)
        sure = moving & steady & (sign * self._travels()[:, 0] >= DIRECTION_SPEED)
        return Verdict(sure, ~moving | ((steps <= 2.0) | ~seen).all(axis=1))

    @property
    def _frame_seconds(self) -> float:
        return 1.0 / self.settings.frame_rate

    def _travels(self) -> np.ndarray:
        """Mean image velocity while visible, (K, 2) pixels of a 160-pixel-wide image per second."""
        velocities = np.zeros((len(self.objects), 2))
        width = self.settings.width / self.settings.pixel_scale
        for number, visible in enumerate(self.visible):
            seen = np.flatnonzero(visible)
            if len(seen) < 3:
                continue
            first, last = seen[0], seen[-1]
            columns, rows = self._columns[number], self._rows[number]
            way = np.array([columns[last] - columns[first], rows[last] - rows[first]])
            velocities[number] = way * width / ((last - first) * self._frame_seconds)
        return velocities


def _half_widths(item: SceneObject) -> np.ndarray:
    """Half the width of an object in the image, (T,) pixels, estimated from its largest area."""
    reach = np.sqrt((item.areas * item.distances**2).max()) / 2
    return reach / np.maximum(item.distances, 0.05)
