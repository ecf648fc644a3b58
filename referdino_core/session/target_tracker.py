# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From scores of slots to one target per command: states with hysteresis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from referdino_core.configuration import SessionSettings
from referdino_core.session.target import TargetState

SAME_OBJECT_OVERLAP = 0.5


@dataclass(frozen=True)
class SlotChoice:
    """The slot that answers a command in one frame.

    Attributes:
        slot: index of the slot, the best candidate's while none is picked.
        track_id: identity of the object; 0 while none is picked.
        score, frame_score: probabilities over the window and of the frame.
    """

    slot: int
    track_id: int
    state: TargetState
    score: float
    frame_score: float


class TargetTracker:
    """Keeps to one slot of an object memory until another is clearly better."""

    def __init__(self, new_track_id: Callable[[], int]) -> None:
        self.new_track_id = new_track_id
        self.slot: int | None = None
        self.track_id = 0
        self.unseen_frames = 0
        self.frames_since_switch = 0

    def update(
        self, scores: np.ndarray, boxes: np.ndarray, settings: SessionSettings
    ) -> SlotChoice:
        """Choose the slot for the newest frame.

        Args:
            scores: (T, Q) probabilities of the window's frames, newest last.
            boxes: (Q, 4) left, top, right, bottom of the newest frame, any unit.
        """
        windowed, newest = scores.mean(0), scores[-1]
        best = int(windowed.argmax())
        self.frames_since_switch += 1
        if self.slot is None:
            self.take_up(best, windowed, newest, settings)
        elif self.should_switch(best, windowed, newest, settings):
            same = box_overlap(boxes[best], boxes[self.slot]) > SAME_OBJECT_OVERLAP
            self.adopt(best, self.track_id if same else self.new_track_id())
        if self.slot is None:
            state = TargetState.LOST if self.track_id else TargetState.SEARCHING
            return SlotChoice(
                best, self.track_id, state, float(windowed[best]), float(newest[best])
            )
        slot = self.slot
        state = self.sight(float(newest[slot]), settings)
        return SlotChoice(slot, self.track_id, state, float(windowed[slot]), float(newest[slot]))

    def take_up(
        self, best: int, windowed: np.ndarray, newest: np.ndarray, settings: SessionSettings
    ) -> None:
        """Adopt the best slot if it is good enough over the window and now."""
        if windowed[best] >= settings.accept and newest[best] >= settings.keep:
            self.adopt(best, self.new_track_id())

    def should_switch(
        self, best: int, windowed: np.ndarray, newest: np.ndarray, settings: SessionSettings
    ) -> bool:
        """Whether another slot is good enough and better by the margin."""
        return (
            best != self.slot
            and self.frames_since_switch > settings.switch_frames
            and windowed[best] >= max(settings.accept, windowed[self.slot] + settings.switch_margin)
            and newest[best] >= settings.keep
        )

    def adopt(self, slot: int, track_id: int) -> None:
        """Make the slot the command's answer."""
        self.slot, self.track_id = slot, track_id
        self.unseen_frames = self.frames_since_switch = 0

    def sight(self, frame_score: float, settings: SessionSettings) -> TargetState:
        """Tracking while the slot is seen; occluded for a while after; then lost."""
        if frame_score >= settings.keep:
            self.unseen_frames = 0
            return TargetState.TRACKING
        self.unseen_frames += 1
        if self.unseen_frames > settings.hold_frames:
            self.slot = None
            return TargetState.LOST
        return TargetState.OCCLUDED


def box_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two (4,) boxes given by their corners."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.clip(sides, 0, None).prod())
    areas = sum(float((box[2:] - box[:2]).prod()) for box in (first, second))
    return shared / max(areas - shared, 1e-9)
