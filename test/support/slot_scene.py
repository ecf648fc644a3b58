# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scene of three objects in three slots, whose scores, places and looks a test chooses."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from referdino_core.configuration import SessionSettings
from referdino_core.session.slot_readings import SlotReadings
from referdino_core.session.target_tracker import SingleTargetTracker, SlotChoice, TargetTracker
from referdino_core.target import TargetState

SETTINGS = SessionSettings(
    accept=0.6,
    keep=0.4,
    average=0.0,
    take_up=0.0,
    take_up_share=1.0,
    hold=0.35,
    switch_margin=0.2,
    switch_interval=0.2,
)
INTERVAL = 0.1
LOOKS = np.eye(4, dtype=np.float32)[:3]
LEFT, RIGHT, TOP = (0.1, 0.4, 0.3, 0.6), (0.7, 0.4, 0.9, 0.6), (0.4, 0.0, 0.6, 0.2)
PLACES = (LEFT, RIGHT, TOP)
SEARCHING, TRACKING, OCCLUDED, LOST = (
    TargetState.SEARCHING,
    TargetState.TRACKING,
    TargetState.OCCLUDED,
    TargetState.LOST,
)


class Scene:
    """Slots whose scores, places and looks are said image by image."""

    def __init__(
        self,
        tracker: type[TargetTracker] = SingleTargetTracker,
        settings: SessionSettings = SETTINGS,
        interval: float = INTERVAL,
    ) -> None:
        numbers = itertools.count(1)
        self.tracker = tracker(lambda: next(numbers))
        self.settings = settings
        self.interval = interval
        self.stamp = 0.0
        self.scores: list[np.ndarray] = []

    def show(
        self,
        *scores: float,
        places: Sequence[tuple[float, float, float, float]] = PLACES,
        looks: np.ndarray = LOOKS,
        images: int = 1,
    ) -> tuple[SlotChoice, ...]:
        """The choices in the last of some equal images."""
        choices: tuple[SlotChoice, ...] = ()
        for _ in range(images):
            self.scores = [*self.scores, np.array([*scores, *[0.0] * (3 - len(scores))])][-8:]
            ages = self.interval * np.arange(len(self.scores))[::-1]
            readings = SlotReadings(
                self.stamp, np.stack(self.scores), ages, np.array(places), looks
            )
            choices = self.tracker.update(readings, self.settings)
            self.stamp += self.interval
        return choices

    def look(self, *scores: float, images: int = 1, **shown: object) -> SlotChoice:
        """The one choice; what is shown is as for `show`."""
        (choice,) = self.show(*scores, images=images, **shown)  # type: ignore[arg-type]
        return choice
