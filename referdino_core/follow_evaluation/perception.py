# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a robot sees by: a session with a model, or the ground truth of the simulation."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from referdino_core.session import Session
from referdino_core.simulation import Frame
from referdino_core.target import Target, TargetState, box_around

VISIBLE_PIXELS = 15
"""Pixels of an image of 160x120 below which an object counts as not seen."""


class Perception(Protocol):
    """Finds what a sentence means, image by image.

    needs_colour: whether it looks at the images at all.
    """

    needs_colour: bool

    def begin(self, sentence: str, target: int | None) -> None:
        """Begin an episode; target: index of the body that is meant, for who may know it."""
        ...

    def find(self, frame: Frame) -> Target:
        """The target in the next image."""
        ...


class SessionPerception:
    """A session's targets, as a robot has them."""

    needs_colour = True

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self, sentence: str, target: int | None) -> None:
        """Begin a stream of images with a sentence."""
        self._session.begin_stream()
        self._session.command(sentence, select="one")

    def find(self, frame: Frame) -> Target:
        """The target in the next image."""
        (target,) = self._session.step(frame.colour, frame.stamp)
        return target


class GroundTruthPerception:
    """The ground truth in the form of a session's targets: what a perfect model would see.

    What is hidden is occluded, and lost after as long as a session's target is.
    """

    needs_colour = False

    def __init__(self, hold: float = 3.0) -> None:
        self._hold = hold
        self._sentence, self._label = "", 0
        self._seen: float | None = None

    def begin(self, sentence: str, target: int | None) -> None:
        """Begin an episode."""
        self._sentence, self._label = sentence, 0 if target is None else target + 1
        self._seen = None

    def find(self, frame: Frame) -> Target:
        """The target in the next image."""
        mask = (frame.labels == self._label) & (self._label > 0)
        if mask.sum() >= VISIBLE_PIXELS:
            self._seen = frame.stamp
            return self._target(TargetState.TRACKING, mask)
        nothing = np.zeros_like(mask)
        if self._seen is None:
            return self._target(TargetState.SEARCHING, nothing)
        gone = frame.stamp - self._seen > self._hold
        return self._target(TargetState.LOST if gone else TargetState.OCCLUDED, nothing)

    def _target(self, state: TargetState, mask: np.ndarray) -> Target:
        known = state is not TargetState.SEARCHING
        score = float(known)
        return Target(
            "command", self._sentence, int(known), state, score, score, box_around(mask), mask
        )
