# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Target: the result of one command in one image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

Box = tuple[float, float, float, float]


class TargetState(str, Enum):
    """Where a target stands.

    searching: nothing has been picked yet. tracking: the target is followed. occluded: the target
    was seen lately and is not seen now. lost: it has not been seen for so long that the search is
    open again.
    """

    SEARCHING = "searching"
    TRACKING = "tracking"
    OCCLUDED = "occluded"
    LOST = "lost"


class Judgement(str, Enum):
    """Whether the model was able to judge an image.

    judged: it was. reset: it was, and every memory had been forgotten just before, so that earlier
    track ids mean nothing any more. late: the image was stamped before its predecessor and was
    dropped. failed: the model could not judge it. After the last two, masks are empty, and states
    and track ids are those of the image before; a command that failed itself is searching anew.
    """

    JUDGED = "judged"
    RESET = "reset"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True)
class Target:
    """An object that a command refers to, in one image.

    Attributes:
        command_id, command: the command that this answers.
        track_id: identity of the object within the session, from 1; 0 while none is picked.
        state: where the target stands.
        score: average probability of the last frames that this object is meant, of whatever its
            slot holds while it is not seen; the best candidate's while none is picked.
        frame_score: the same for this frame alone.
        box: left, top, right, bottom in pixels of the given image, the smallest around the mask;
            None where the mask is empty.
        mask: (H, W) bool; empty unless the object is seen in this image.
        predicted_box: the box head's box in the same coordinates; None unless the object is seen.
        judgement: whether the model was able to judge this image.
    """

    command_id: str
    command: str
    track_id: int
    state: TargetState
    score: float
    frame_score: float
    box: Box | None
    mask: np.ndarray
    predicted_box: Box | None = None
    judgement: Judgement = Judgement.JUDGED


def box_around(mask: np.ndarray) -> Box | None:
    """Smallest box (left, top, right, bottom, in pixels) around an (H, W) bool mask, or None."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
