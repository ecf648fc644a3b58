# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Target: the result of one command in one image; the overlap of boxes and of masks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

Box = tuple[float, float, float, float]


class TargetState(str, Enum):
    """State of a target.

    searching: no object has been chosen yet. tracking: the target is visible. occluded: the target
    was visible recently but is not now. lost: it has been invisible for so long that another object
    may be chosen.
    """

    SEARCHING = "searching"
    TRACKING = "tracking"
    OCCLUDED = "occluded"
    LOST = "lost"


class Judgement(str, Enum):
    """Whether the model judged an image, that is, computed results for it.

    judged: it did. reset: it did, after all memories were reset, so that earlier track ids are no
    longer valid. late: the image was stamped before its predecessor and was dropped. failed: the
    model could not process it. In the last two cases masks are empty, and states and track ids are
    those of the previous image; a command that itself failed is searching again.
    """

    JUDGED = "judged"
    RESET = "reset"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True)
class Target:
    """An object that a command refers to, in one image.

    Attributes:
        command_id, command: id and sentence of the command.
        track_id: identity of the object within the session, from 1; 0 before one is chosen.
        state: state of the target.
        score: probability that the sentence means this object, averaged over recent frames. While
            the object is not visible, it is that of its slot; before one is chosen, that of the
            best candidate.
        frame_score: the same for this frame alone.
        box: left, top, right, bottom in pixels of the given image, the smallest around the mask;
            None if the mask is empty.
        mask: (H, W) bool; empty unless the object is visible in this image.
        predicted_box: the box head's box in the same coordinates; None unless it is visible.
        judgement: whether the model judged this image.
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


def box_overlaps(boxes: np.ndarray, box: np.ndarray | Box) -> np.ndarray:
    """(N,) intersection over union of (N, 4) boxes with one box; 0 for two without an area.

    Boxes are left, top, right, bottom.
    """
    one = np.asarray(box)
    sides = np.minimum(boxes[:, 2:], one[2:]) - np.maximum(boxes[:, :2], one[:2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (one[2:] - one[:2]).prod()
    overlaps: np.ndarray = shared / np.maximum(areas - shared, 1e-9)
    return overlaps


def mask_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two (H, W) bool masks of one size; 1 if both are empty."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 1.0
