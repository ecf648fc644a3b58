# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a session says about each command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class TargetState(str, Enum):
    """Where a command stands.

    searching: nothing has been picked yet. tracking: the target is seen in this frame.
    occluded: the target was seen lately and is not seen now. lost: it has not been seen for so
    long that the search is open again.
    """

    SEARCHING = "searching"
    TRACKING = "tracking"
    OCCLUDED = "occluded"
    LOST = "lost"


@dataclass(frozen=True)
class Target:
    """The object of one command in one frame.

    Attributes:
        command_id, command: the command that this answers.
        track_id: identity of the object within the session, from 1; 0 while none is picked.
        state: where the command stands.
        score: probability over the window that this object is meant; the best candidate's while
            none is picked.
        frame_score: the same for this frame alone.
        box: left, top, right, bottom in pixels of the given image; None when nothing is seen.
        mask: (H, W) bool; empty unless the state is tracking.
    """

    command_id: str
    command: str
    track_id: int
    state: TargetState
    score: float
    frame_score: float
    box: tuple[float, float, float, float] | None
    mask: np.ndarray
