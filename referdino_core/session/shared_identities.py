# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SharedIdentities: a common track id for an object that several commands refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from referdino_core.session.track import Track
from referdino_core.target import Box

SAME_MASK_OVERLAP = 0.7
"""Intersection over union of two commands' masks from which they show the same object."""
OTHER_MASK_OVERLAP = 0.1
"""Intersection over union up to which they show different objects."""
MIN_STREAK = 3
"""Consecutive images that must agree before an identity changes."""


@dataclass(frozen=True)
class Sighting:
    """A track whose target is visible in the newest image.

    Attributes:
        command_id: id of the track's command.
        mask: (H, W) bool, not empty. box: the box around it.
    """

    command_id: str
    track: Track
    mask: np.ndarray
    box: Box

    @cached_property
    def area(self) -> int:
        """Pixels of the mask."""
        left, top, right, bottom = (int(side) for side in self.box)
        return int(np.count_nonzero(self.mask[top:bottom, left:right]))


Pair = tuple[str, int, str, int]


class SharedIdentities:
    """Merges and separates the identities of different commands' tracks by their masks.

    Tracks whose masks agree over several images are the same object and report the older id; once
    their masks are apart over several images, each reports its own id again.

    Attributes:
        streaks: by pair of tracks, the number of consecutive images in which their masks agreed;
            negative if they were apart.
    """

    def __init__(self) -> None:
        self.streaks: dict[Pair, int] = {}

    def update(self, sightings: Sequence[Sighting], tracks: Mapping[str, Sequence[Track]]) -> None:
        """Compare the masks of the newest image, and update the reported ids.

        Args:
            sightings: the tracks that are visible in the image.
            tracks: all tracks of every command.
        """
        streaks: dict[Pair, int] = {}
        for first, second in combinations(sightings, 2):
            if first.command_id == second.command_id:
                continue
            overlap = mask_overlap(first, second)
            agree, apart = overlap >= SAME_MASK_OVERLAP, overlap <= OTHER_MASK_OVERLAP
            streak = self.streaks.get(pair_of(first, second), 0)
            streak = max(streak, 0) + 1 if agree else min(streak, 0) - 1 if apart else 0
            streaks[pair_of(first, second)] = streak
            same = first.track.track_id == second.track.track_id
            if same and streak <= -MIN_STREAK:
                first.track.shared_id = second.track.shared_id = None
            elif not same and streak >= MIN_STREAK:
                share_older(first, second, tracks)
        self.streaks = streaks


def share_older(first: Sighting, second: Sighting, tracks: Mapping[str, Sequence[Track]]) -> None:
    """Let both tracks report the older id, unless a command uses it for another object."""
    older = min(first.track.track_id, second.track.track_id)
    for sighting in (first, second):
        others = (one for one in tracks[sighting.command_id] if one is not sighting.track)
        if any(one.track_id == older for one in others):
            return
    for track in (first.track, second.track):
        track.shared_id = None if track.own_id == older else older


def pair_of(first: Sighting, second: Sighting) -> Pair:
    """The key of two tracks of different commands."""
    return first.command_id, first.track.own_id, second.command_id, second.track.own_id


def mask_overlap(first: Sighting, second: Sighting) -> float:
    """Intersection over union of two masks; 0 if their boxes do not overlap."""
    left, top = (int(max(a, b)) for a, b in zip(first.box[:2], second.box[:2], strict=True))
    right, bottom = (int(min(a, b)) for a, b in zip(first.box[2:], second.box[2:], strict=True))
    if left >= right or top >= bottom:
        return 0.0
    part = slice(top, bottom), slice(left, right)
    shared = int(np.count_nonzero(first.mask[part] & second.mask[part]))
    return shared / max(first.area + second.area - shared, 1)
