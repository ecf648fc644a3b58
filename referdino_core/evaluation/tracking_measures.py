# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Identity over time: identity switches, MOTA, IDF1, and frames in which an id was lent.

CLEAR MOT (Bernardin and Stiefelhagen, 2008) and the identity measures (Ristani et al., 2016),
computed here and held to recorded values of TrackEval 1.3.0. TrackEval itself is no dependency: it
requires opencv-python, which overwrites the opencv-python-headless that robots run, and a NumPy
newer than that of ROS 2 Jazzy. motmetrics has had no release since 2022 and brings pandas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from referdino_core.evaluation.davis import ABSENT_AREA
from referdino_core.evaluation.ground_truth.base import FrameTruth

MATCH_OVERLAP = 0.5
"""Intersection over union from which a mask matches an object, as in MOTS."""

_CONTINUED = 1000.0  # an earlier match goes before any overlap
_EPSILON = np.finfo(float).eps


class Tracked(Protocol):
    """A mask that bears a track id: (H, W) bool."""

    @property
    def track_id(self) -> int: ...

    @property
    def mask(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class FrameTracks:
    """The tracks of one command in one frame, against the ground truth.

    Attributes:
        objects: ids of the G objects that are to be found.
        tracks: ids of the P tracks that have a mask.
        overlaps: (G, P) intersection over union, 0 to 1.
        lies_on: for each of the P masks the id of the object that it lies on, meant or not; None
            where it lies on none, or answers another image.
    """

    objects: Sequence[int]
    tracks: Sequence[int]
    overlaps: np.ndarray
    lies_on: Sequence[int | None]


def frame_tracks(
    targets: Sequence[Tracked], truth: FrameTruth, objects: Collection[int]
) -> FrameTracks:
    """Put the masks of a command beside the objects of the frame; only judged pixels count.

    To be found are the objects that the command means and that have at least 15 pixels. A mask
    lies on the object, whichever it is, that takes over half of its pixels; where objects overlap
    and several do, on the one with the highest intersection over union. Empty masks are no tracks.

    Args:
        targets: with masks in the size of the ground truth.
        objects: ids that the command means.
    """
    judged = {
        number: mask if truth.void is None else mask & ~truth.void
        for number, mask in truth.masks.items()
    }
    answered = [
        (target.track_id, mask)
        for target in targets
        if (mask := target.mask if truth.void is None else target.mask & ~truth.void).any()
    ]
    found = [
        number
        for number in sorted(set(objects) & judged.keys())
        if np.count_nonzero(judged[number]) >= ABSENT_AREA
    ]
    overlaps = np.zeros((len(found), len(answered)))
    for row, number in enumerate(found):
        for column, (_, mask) in enumerate(answered):
            overlaps[row, column] = _overlap(mask, judged[number])
    return FrameTracks(
        objects=found,
        tracks=[track for track, _ in answered],
        overlaps=overlaps,
        lies_on=[_object_under(mask, judged) for _, mask in answered],
    )


class FirstObjects:
    """Which object every track id of a run was first seen on."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def is_lent(self, track: int, number: int) -> bool:
        """Whether a track that now lies on an object was first seen on another one."""
        return self._first.setdefault(track, number) != number


@dataclass(frozen=True)
class TrackingScores:
    """How well the tracks of one or several commands kept to their objects.

    The ground truth are the objects that the sentence means, frame by frame; a frame without them
    has none, and a mask on anything else is a false positive.

    Attributes:
        ground_truths: objects to be found, summed over the frames.
        matches: how many were matched by a mask with an IoU of at least 0.5, one to one. Within a
            frame, a match of the frame before goes first, then the sum of IoU decides.
        false_positives: masks that matched none; misses: objects that no mask matched.
        identity_switches: how often an object was matched by another id than the last time that
            it was matched, however long ago; summed over the objects. Giving up a wrong object for
            the right one under a new id is none.
        identity_matches: matches that remain if every object keeps one id and every id one object
            over the whole stream, chosen so that most remain (IDTP).
        lent_id_frames: frames in which a mask lies on another object, meant or not, than the first
            one that its id lay on, in this or any other command of the run. Where an image has no
            answer of its own, the masks that are believed meanwhile do not count.
        mota: 1 - (misses + false positives + switches) / ground truths, at most 1 and possibly
            negative; None without ground truth.
        idf1: 2 identity matches / (ground truths + masks), 0 to 1; None where there are neither.
    """

    ground_truths: int
    matches: int
    false_positives: int
    misses: int
    identity_switches: int
    identity_matches: int
    lent_id_frames: int
    mota: float | None
    idf1: float | None


class TrackingScorer:
    """Collects the frames of one command; keeps a few numbers per object and track id."""

    def __init__(self, first_objects: FirstObjects | None = None) -> None:
        """Begin.

        Args:
            first_objects: of the run, shared by its commands; by default of this one alone.
        """
        self._first_objects = first_objects or FirstObjects()
        self._ground_truths = self._masks = self._matches = self._switches = self._lent = 0
        self._latest: dict[int, int] = {}
        self._previous: dict[int, int] = {}
        self._together: Counter[tuple[int, int]] = Counter()

    def add(self, frame: FrameTracks) -> None:
        """Take in the next frame."""
        self._ground_truths += len(frame.objects)
        self._masks += len(frame.tracks)
        lent = [
            number is not None and self._first_objects.is_lent(track, number)
            for track, number in zip(frame.tracks, frame.lies_on, strict=True)
        ]
        self._lent += any(lent)
        if not len(frame.objects) or not len(frame.tracks):
            return
        for row, column in zip(*np.nonzero(frame.overlaps >= MATCH_OVERLAP), strict=True):
            self._together[frame.objects[row], frame.tracks[column]] += 1
        matched = self._match(frame)
        self._matches += len(matched)
        self._switches += sum(
            self._latest.get(number, track) != track for number, track in matched.items()
        )
        self._latest.update(matched)
        self._previous = matched

    def result(self) -> TrackingScores:
        """The scores so far."""
        return _scores(
            self._ground_truths,
            self._masks,
            self._matches,
            self._switches,
            self._identity_matches(),
            self._lent,
        )

    def _match(self, frame: FrameTracks) -> dict[int, int]:
        """The track that each matched object of a frame is given."""
        continued = np.array(
            [
                [self._previous.get(number) == track for track in frame.tracks]
                for number in frame.objects
            ]
        )
        worth = _CONTINUED * continued + frame.overlaps
        worth[frame.overlaps < MATCH_OVERLAP - _EPSILON] = 0.0
        rows, columns = linear_sum_assignment(worth, maximize=True)
        return {
            frame.objects[row]: frame.tracks[column]
            for row, column in zip(rows, columns, strict=True)
            if worth[row, column] > _EPSILON
        }

    def _identity_matches(self) -> int:
        numbers = {number: place for place, number in enumerate({one for one, _ in self._together})}
        tracks = {track: place for place, track in enumerate({one for _, one in self._together})}
        counts = np.zeros((len(numbers), len(tracks)), dtype=np.int64)
        for (number, track), count in self._together.items():
            counts[numbers[number], tracks[track]] = count
        return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


def combined(scores: Iterable[TrackingScores]) -> TrackingScores:
    """Several streams together: their counts are summed, as TrackEval combines sequences."""
    known = list(scores)
    return _scores(
        sum(one.ground_truths for one in known),
        sum(one.matches + one.false_positives for one in known),
        sum(one.matches for one in known),
        sum(one.identity_switches for one in known),
        sum(one.identity_matches for one in known),
        sum(one.lent_id_frames for one in known),
    )


def _scores(
    ground_truths: int,
    masks: int,
    matches: int,
    switches: int,
    identity_matches: int,
    lent_id_frames: int,
) -> TrackingScores:
    false_positives = masks - matches
    both = ground_truths + masks
    return TrackingScores(
        ground_truths=ground_truths,
        matches=matches,
        false_positives=false_positives,
        misses=ground_truths - matches,
        identity_switches=switches,
        identity_matches=identity_matches,
        lent_id_frames=lent_id_frames,
        mota=(matches - false_positives - switches) / ground_truths if ground_truths else None,
        idf1=2 * identity_matches / both if both else None,
    )


def _overlap(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks of which one at least is not empty."""
    return int(np.count_nonzero(mask & other)) / int(np.count_nonzero(mask | other))


def _object_under(mask: np.ndarray, objects: dict[int, np.ndarray]) -> int | None:
    half = np.count_nonzero(mask) / 2
    candidates = [
        number for number, other in objects.items() if np.count_nonzero(mask & other) > half
    ]
    return max(candidates, key=lambda number: _overlap(mask, objects[number]), default=None)
