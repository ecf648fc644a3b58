# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Tracking metrics: identity switches, MOTA, IDF1, and frames with lent ids.

CLEAR MOT (Bernardin and Stiefelhagen, 2008) and the identity measures (Ristani et al., 2016),
computed here and tested against recorded values of TrackEval 1.3.0. TrackEval itself is not a
dependency: it requires opencv-python, which overwrites the opencv-python-headless that robots run,
and a NumPy newer than that of ROS 2 Jazzy. motmetrics has had no release since 2022 and brings
pandas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from referdino_core.evaluation.davis import ABSENT_AREA
from referdino_core.evaluation.ground_truth.base import FrameGroundTruth
from referdino_core.target import mask_overlap

MATCH_OVERLAP = 0.5
"""Minimum intersection over union of a match, as in MOTS."""

_CONTINUED = 1000.0  # a continued match takes precedence over any overlap
_EPSILON = np.finfo(float).eps


class Tracked(Protocol):
    """A mask, (H, W) bool, with a track id."""

    @property
    def track_id(self) -> int: ...

    @property
    def mask(self) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class FrameTracks:
    """The tracks of one command in one frame, against the ground truth.

    Attributes:
        objects: ids of the G target objects.
        tracks: ids of the P tracks with a mask.
        overlaps: (G, P) intersection over union, 0 to 1.
        lies_on: for each of the P masks the id of the object that it lies on, target or not; None
            if it lies on none, or is the result of another image.
    """

    objects: Sequence[int]
    tracks: Sequence[int]
    overlaps: np.ndarray
    lies_on: Sequence[int | None]


def frame_tracks(
    targets: Sequence[Tracked], truth: FrameGroundTruth, objects: Collection[int]
) -> FrameTracks:
    """Compare the masks of a command with the objects of the frame, without ignored pixels.

    Target objects are those that the command means and that have at least 15 pixels. A mask lies on
    the object, target or not, that covers more than half of its pixels; if overlapping objects do,
    on the one with the highest intersection over union. Empty masks count as no track.

    Args:
        targets: with masks in the size of the ground truth.
        objects: ids that the command means.
    """
    evaluated = {
        number: mask if truth.ignored is None else mask & ~truth.ignored
        for number, mask in truth.masks.items()
    }
    predicted = [
        (target.track_id, mask)
        for target in targets
        if (mask := target.mask if truth.ignored is None else target.mask & ~truth.ignored).any()
    ]
    found = [
        number
        for number in sorted(set(objects) & evaluated.keys())
        if np.count_nonzero(evaluated[number]) >= ABSENT_AREA
    ]
    overlaps = np.zeros((len(found), len(predicted)))
    for row, number in enumerate(found):
        for column, (_, mask) in enumerate(predicted):
            overlaps[row, column] = mask_overlap(mask, evaluated[number])
    return FrameTracks(
        objects=found,
        tracks=[track for track, _ in predicted],
        overlaps=overlaps,
        lies_on=[_object_under(mask, evaluated) for _, mask in predicted],
    )


class FirstObjects:
    """The object on which each track id of a run was first seen."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def is_lent(self, track: int, number: int) -> bool:
        """Whether a track that now lies on an object was first seen on another."""
        return self._first.setdefault(track, number) != number


@dataclass(frozen=True)
class TrackingScores:
    """Tracking metrics of one or several commands.

    The ground truth are the objects that the sentence means, frame by frame; a frame without them
    has none, and a mask on anything else is a false positive.

    Attributes:
        ground_truths: target objects, summed over the frames.
        matches: number of target objects matched one to one by a mask with an IoU of at least 0.5.
            Within a frame, matches of the previous frame take precedence, then the sum of IoU.
        false_positives: unmatched masks; misses: unmatched objects.
        identity_switches: how often an object was matched by another id than at its previous match,
            however long ago; summed over the objects. Leaving a wrong object for the right one
            under a new id is not a switch.
        identity_matches: matches that remain if every object keeps one id and every id one object
            over the whole stream, maximised (IDTP).
        lent_id_frames: frames in which a mask lies on another object, target or not, than the first
            one of its id, in this or any other command of the run. Results of earlier images, used
            for images without a result of their own, do not count.
        mota: 1 - (misses + false positives + switches) / ground truths, at most 1 and possibly
            negative; None without ground truth.
        idf1: 2 identity matches / (ground truths + masks), 0 to 1; None without either.
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
    """Accumulator of the frames of one command; stores a few values per object and track id."""

    def __init__(self, first_objects: FirstObjects | None = None) -> None:
        """Initialise.

        Args:
            first_objects: of the run, shared by its commands; by default of this command alone.
        """
        self._first_objects = first_objects or FirstObjects()
        self._ground_truths = self._masks = self._matches = self._switches = self._lent = 0
        self._latest: dict[int, int] = {}
        self._previous: dict[int, int] = {}
        self._together: Counter[tuple[int, int]] = Counter()

    def add(self, frame: FrameTracks) -> None:
        """Add the next frame."""
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
        """The matched track of each matched object of a frame."""
        continued = np.array(
            [
                [self._previous.get(number) == track for track in frame.tracks]
                for number in frame.objects
            ]
        )
        scores = _CONTINUED * continued + frame.overlaps
        scores[frame.overlaps < MATCH_OVERLAP - _EPSILON] = 0.0
        rows, columns = linear_sum_assignment(scores, maximize=True)
        return {
            frame.objects[row]: frame.tracks[column]
            for row, column in zip(rows, columns, strict=True)
            if scores[row, column] > _EPSILON
        }

    def _identity_matches(self) -> int:
        numbers = {number: index for index, number in enumerate({one for one, _ in self._together})}
        tracks = {track: index for index, track in enumerate({one for _, one in self._together})}
        counts = np.zeros((len(numbers), len(tracks)), dtype=np.int64)
        for (number, track), count in self._together.items():
            counts[numbers[number], tracks[track]] = count
        return int(counts[linear_sum_assignment(counts, maximize=True)].sum())


def combined(scores: Iterable[TrackingScores]) -> TrackingScores:
    """Scores of several streams together, from their summed counts, as in TrackEval."""
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


def _object_under(mask: np.ndarray, objects: dict[int, np.ndarray]) -> int | None:
    half = np.count_nonzero(mask) / 2
    candidates = [
        number for number, other in objects.items() if np.count_nonzero(mask & other) > half
    ]
    return max(candidates, key=lambda number: mask_overlap(mask, objects[number]), default=None)
