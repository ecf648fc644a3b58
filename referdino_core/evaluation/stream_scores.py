# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a stream: one command's results, frame by frame and in total."""

from __future__ import annotations

import math
import statistics
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from referdino_core.errors import ImageError
from referdino_core.evaluation.davis import (
    ABSENT_AREA,
    RIGHT_OVERLAP,
    SequenceStatistics,
    boundary_accuracy,
    region_similarity,
    sequence_statistics,
)
from referdino_core.evaluation.ground_truth.base import FrameGroundTruth
from referdino_core.evaluation.tracking_measures import (
    FirstObjects,
    FrameTracks,
    TrackingScorer,
    TrackingScores,
    combined,
)

ELSEWHERE_OVERLAP = 0.1
"""J below which a result counts as another object rather than a poor mask of the right one."""

MISSED = "missed"
WRONG_OBJECT = "wrong object"
POOR_MASK = "poor mask"
FALSE_ALARM = "false alarm"
FAILURES = (MISSED, WRONG_OBJECT, POOR_MASK, FALSE_ALARM)
"""Kinds of failure in one frame."""

SEARCHING = "searching"
_STATES = ("tracking", "occluded", "lost", SEARCHING)  # by precedence among several targets

Box = tuple[float, float, float, float]


class ScoredTarget(Protocol):
    """The properties of a command's target that are scored.

    Attributes:
        track_id: its identity.
        mask: (H, W) bool.
        box: left, top, right, bottom in pixels; None if it is not visible.
    """

    @property
    def track_id(self) -> int: ...

    @property
    def mask(self) -> np.ndarray: ...

    @property
    def box(self) -> Box | None: ...


@dataclass(frozen=True)
class FrameScore:
    """Scores of one command in one frame with ground truth; the masks of its targets are merged.

    Attributes:
        present: whether the ground truth has at least 15 evaluated pixels.
        region, boundary: J and F, 0 to 1; None if the target is absent.
        centre_error: pixels between the centres of the predicted and the true box; None if the
            target is absent or there is no predicted box.
        overlap_with_other: id of another object that covers most of the mask; None without one.
        answered: whether the predicted mask has evaluated pixels.
    """

    present: bool
    region: float | None
    boundary: float | None
    centre_error: float | None
    overlap_with_other: int | None
    answered: bool = True


def score_frame(
    targets: Sequence[ScoredTarget], truth: FrameGroundTruth, objects: Collection[int]
) -> FrameScore | None:
    """Compare a result with the ground truth of its frame; None if all pixels are ignored.

    Args:
        targets: targets of one command, whose masks are merged; () for an empty prediction.
        objects: ids that the command means, merged into one target; () if it matches nothing.

    Raises:
        ImageError: mask and ground truth differ in size.
    """
    mask = np.zeros(truth.size, dtype=bool)
    for target in targets:
        if target.mask.shape != truth.size:
            raise ImageError(
                f"The mask is {target.mask.shape}, but the ground truth is {truth.size}."
            )
        mask |= target.mask
    if truth.ignored is not None and truth.ignored.all():
        return None
    meant = truth.of(objects)
    evaluated = meant if truth.ignored is None else meant & ~truth.ignored
    predicted = mask if truth.ignored is None else mask & ~truth.ignored
    other = other_object(mask, truth, objects)
    box = _box_around([target.box for target in targets])
    if np.count_nonzero(evaluated) < ABSENT_AREA:
        return FrameScore(False, None, None, None, other, bool(predicted.any()))
    return FrameScore(
        present=True,
        region=region_similarity(mask, meant, truth.ignored),
        boundary=boundary_accuracy(mask, meant, truth.ignored),
        centre_error=None if box is None else centre_distance(box, evaluated),
        overlap_with_other=other,
        answered=bool(predicted.any()),
    )


def other_object(mask: np.ndarray, truth: FrameGroundTruth, objects: Collection[int]) -> int | None:
    """Id of another object that covers over half of the (H, W) mask; None if there is none.

    It must also cover more of the mask than the target does.
    """
    evaluated = mask if truth.ignored is None else mask & ~truth.ignored
    overlaps = {
        number: int(np.count_nonzero(evaluated & other))
        for number, other in truth.masks.items()
        if number not in objects
    }
    if not overlaps:
        return None
    largest = max(overlaps, key=lambda number: overlaps[number])
    own = int(np.count_nonzero(evaluated & truth.of(objects)))
    needed = max(np.count_nonzero(evaluated) / 2, own)
    return largest if overlaps[largest] > needed else None


def centre_distance(box: Box, mask: np.ndarray) -> float:
    """Pixels between the centres of a box and of the box around a non-empty (H, W) mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top, right, bottom = box
    across = (left + right) / 2 - (columns[0] + columns[-1] + 1) / 2
    down = (top + bottom) / 2 - (rows[0] + rows[-1] + 1) / 2
    return float(np.hypot(across, down))


def state_of(states: Collection[str]) -> str:
    """The state of a command, given those of its targets; "searching" without targets."""
    return min(states, key=_STATES.index, default=SEARCHING)


def failure_of(score: FrameScore, seen: bool = True) -> str | None:
    """The kind of failure, one of `FAILURES`; None if the result is right.

    Args:
        seen: False if the mask is known to be empty, whatever `score.answered` says.
    """
    predicted = seen and score.answered
    if not score.present:
        return FALSE_ALARM if predicted else None
    if not predicted:
        return MISSED
    overlap = score.region or 0.0
    if overlap > RIGHT_OVERLAP:
        return None
    if overlap < ELSEWHERE_OVERLAP or score.overlap_with_other is not None:
        return WRONG_OBJECT
    return POOR_MASK


@dataclass(frozen=True)
class CommandScores:
    """Scores of one command over a stream.

    Attributes:
        frames: frames while it was active. frames_dropped: those of them that were dropped.
        frames_with_truth: scored frames.
        region, boundary: J and F over the frames that show the target; None without such frames.
        region_and_boundary: mean of the two means.
        right: whether mean J exceeds 0.5; None if no frame shows the target.
        time_to_acquire: seconds from the command to the first frame with J above 0.5; None without
            such a frame.
        frames_lost: frames that show the target and have no predicted mask.
        frames_absent: scored frames without the target.
        false_alarms: those of them with a predicted mask.
        centre_error: median in pixels over the frames that show the target, with infinity for
            frames without a box; None if the median is infinite or no frame shows the target.
        failures: number of frames per kind of failure in `FAILURES`.
        states: number of frames per state.
        frames_located: frames that show the target and have a predicted box; None in older runs,
            whose centre error is over these frames alone.
        tracking: identity over time; None in older runs.
    """

    command_id: str
    sentence: str
    frames: int
    frames_dropped: int
    frames_with_truth: int
    region: SequenceStatistics | None
    boundary: SequenceStatistics | None
    region_and_boundary: float | None
    right: bool | None
    time_to_acquire: float | None
    frames_lost: int
    frames_absent: int
    false_alarms: int
    centre_error: float | None
    failures: dict[str, int]
    states: dict[str, int]
    frames_located: int | None = None
    tracking: TrackingScores | None = None


class StreamScorer:
    """Accumulator of the frames of one command; stores a few values per frame."""

    def __init__(
        self,
        command_id: str,
        sentence: str,
        since: float,
        first_objects: FirstObjects | None = None,
    ) -> None:
        """Initialise.

        Args:
            since: time of the command in seconds, on the clock of the stamps.
            first_objects: those of the run, shared by its commands; by default of this one alone.
        """
        self._command_id = command_id
        self._sentence = sentence
        self._since = since
        self._regions = array("d")
        self._boundaries = array("d")
        self._centre_errors = array("d")
        self._states: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._dropped = self._absent = 0
        self._time_to_acquire: float | None = None
        self._tracking = TrackingScorer(first_objects)

    def add(
        self,
        stamp: float,
        state: str,
        score: FrameScore | None,
        tracks: FrameTracks | None = None,
    ) -> None:
        """Add the next frame.

        Args:
            stamp: seconds.
            state: state of the command, see `state_of`.
            score, tracks: None for a frame without ground truth.
        """
        self._states[state] += 1
        if score is None:
            return
        if tracks is not None:
            self._tracking.add(tracks)
        failure = failure_of(score)
        if failure is not None:
            self._failures[failure] += 1
        if score.region is None or score.boundary is None:
            self._absent += 1
            return
        self._regions.append(score.region)
        self._boundaries.append(score.boundary)
        self._centre_errors.append(math.inf if score.centre_error is None else score.centre_error)
        if score.region > RIGHT_OVERLAP and self._time_to_acquire is None:
            self._time_to_acquire = stamp - self._since

    def drop(self) -> None:
        """Count a frame as dropped; it is also added, with the latest earlier result."""
        self._dropped += 1

    def result(self) -> CommandScores:
        """The scores so far."""
        region = sequence_statistics(self._regions) if self._regions else None
        boundary = sequence_statistics(self._boundaries) if self._boundaries else None
        return CommandScores(
            command_id=self._command_id,
            sentence=self._sentence,
            frames=sum(self._states.values()),
            frames_dropped=self._dropped,
            frames_with_truth=len(self._regions) + self._absent,
            region=region,
            boundary=boundary,
            region_and_boundary=(region.mean + boundary.mean) / 2 if region and boundary else None,
            right=region.mean > RIGHT_OVERLAP if region else None,
            time_to_acquire=self._time_to_acquire,
            frames_lost=self._failures[MISSED],
            frames_absent=self._absent,
            false_alarms=self._failures[FALSE_ALARM],
            centre_error=_median(self._centre_errors),
            failures={kind: self._failures[kind] for kind in FAILURES},
            states=dict(sorted(self._states.items())),
            frames_located=sum(map(math.isfinite, self._centre_errors)),
            tracking=self._tracking.result(),
        )


@dataclass(frozen=True)
class OverallScores:
    """Scores of several commands together.

    Attributes:
        region, boundary, region_and_boundary: means over the commands that have them.
        right: fraction of the commands whose object was right.
        commands_shown: commands whose target is shown by a scored frame.
        time_to_acquire: median over these, with infinity for commands that never acquired their
            target; None if the median is infinite.
        commands_acquired: number of these that acquired their target.
        centre_error: likewise, with infinity for commands without one.
        commands_located: number of these with a centre error.
        frames_lost, frames_absent, false_alarms: sums.
        tracking: combined scores of all commands; None if one of them has none.
    """

    region: float | None
    boundary: float | None
    region_and_boundary: float | None
    right: float | None
    commands_shown: int
    time_to_acquire: float | None
    commands_acquired: int
    centre_error: float | None
    commands_located: int
    frames_lost: int
    frames_absent: int
    false_alarms: int
    tracking: TrackingScores | None


def overall_scores(commands: Sequence[CommandScores]) -> OverallScores:
    """Aggregate the scores of several commands with equal weights."""
    shown = [scores for scores in commands if scores.region]
    acquired = [_or_never(scores.time_to_acquire) for scores in shown]
    located = [_or_never(scores.centre_error) for scores in shown]
    tracking = [scores.tracking for scores in commands if scores.tracking]
    return OverallScores(
        region=_mean([scores.region.mean for scores in commands if scores.region]),
        boundary=_mean([scores.boundary.mean for scores in commands if scores.boundary]),
        region_and_boundary=_mean([scores.region_and_boundary for scores in commands]),
        right=_mean([scores.right for scores in commands]),
        commands_shown=len(shown),
        time_to_acquire=_median(acquired),
        commands_acquired=sum(map(math.isfinite, acquired)),
        centre_error=_median(located),
        commands_located=sum(map(math.isfinite, located)),
        frames_lost=sum(scores.frames_lost for scores in commands),
        frames_absent=sum(scores.frames_absent for scores in commands),
        false_alarms=sum(scores.false_alarms for scores in commands),
        tracking=combined(tracking) if len(tracking) == len(commands) else None,
    )


def _box_around(boxes: Iterable[Box | None]) -> Box | None:
    corners = np.array([box for box in boxes if box is not None])
    if not len(corners):
        return None
    left, top = corners[:, :2].min(axis=0).tolist()
    right, bottom = corners[:, 2:].max(axis=0).tolist()
    return left, top, right, bottom


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _or_never(value: float | None) -> float:
    return math.inf if value is None else value


def _median(values: Sequence[float]) -> float | None:
    """The median; None without values or if it is infinite."""
    median = statistics.median(values) if len(values) else math.inf
    return float(median) if math.isfinite(median) else None
