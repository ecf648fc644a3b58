# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a stream: what one command's answers were worth, frame by frame and altogether."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from referdino_core.errors import ImageError
from referdino_core.evaluation.boundary_accuracy import boundary_accuracy
from referdino_core.evaluation.region_similarity import RIGHT_OVERLAP, region_similarity
from referdino_core.evaluation.sequence_statistics import SequenceStatistics, sequence_statistics
from referdino_core.evaluation.truth.base import FrameTruth

ABSENT_AREA = 15
"""Pixels of truth below which a target counts as absent from a frame."""
ELSEWHERE_OVERLAP = 0.1
"""J below which an answer is another object rather than a poor mask of the right one."""

MISSED = "missed"
WRONG_OBJECT = "wrong object"
POOR_MASK = "poor mask"
FALSE_ALARM = "false alarm"
FAILURES = (MISSED, WRONG_OBJECT, POOR_MASK, FALSE_ALARM)
"""What can be wrong with the answer to one frame."""

Box = tuple[float, float, float, float]


class Answered(Protocol):
    """What is scored of an answer.

    Attributes:
        mask: (H, W) bool.
        box: left, top, right, bottom in pixels; None where nothing is seen.
    """

    @property
    def mask(self) -> np.ndarray: ...

    @property
    def box(self) -> Box | None: ...


@dataclass(frozen=True)
class FrameScore:
    """One command's answer to one frame that has truth.

    Attributes:
        present: whether the truth has at least 15 pixels that are judged.
        region, boundary: J and F, 0 to 1; None where the target is absent.
        centre_error: pixels between the centres of the answered and the true box; None where the
            target is absent or no box was answered.
        overlap_with_other: id of another object that takes most of the mask, None where none does.
        answered: whether the mask has pixels that are judged.
    """

    present: bool
    region: float | None
    boundary: float | None
    centre_error: float | None
    overlap_with_other: int | None
    answered: bool = True


def score_frame(target: Answered, truth: FrameTruth, objects: Collection[int]) -> FrameScore | None:
    """Compare an answer with the truth of its frame; None where not a single pixel is judged.

    Args:
        objects: ids that the command means, merged into one target; none where it is true of
            nothing.

    Raises:
        ImageError: mask and truth differ in size.
    """
    if target.mask.shape != truth.size:
        raise ImageError(f"The mask is {target.mask.shape}, but the truth is {truth.size}.")
    if truth.void is not None and truth.void.all():
        return None
    meant = truth.of(objects)
    judged = meant if truth.void is None else meant & ~truth.void
    answered = target.mask if truth.void is None else target.mask & ~truth.void
    other = other_object(target.mask, truth, objects)
    if np.count_nonzero(judged) < ABSENT_AREA:
        return FrameScore(False, None, None, None, other, bool(answered.any()))
    return FrameScore(
        present=True,
        region=region_similarity(target.mask, meant, truth.void),
        boundary=boundary_accuracy(target.mask, meant, truth.void),
        centre_error=None if target.box is None else centre_distance(target.box, judged),
        overlap_with_other=other,
        answered=bool(answered.any()),
    )


def other_object(mask: np.ndarray, truth: FrameTruth, objects: Collection[int]) -> int | None:
    """Id of the object that is not meant, takes over half of the (H, W) mask, and more than the
    target does; None where there is no such object.
    """
    judged = mask if truth.void is None else mask & ~truth.void
    shares = {
        number: int(np.count_nonzero(judged & other))
        for number, other in truth.masks.items()
        if number not in objects
    }
    if not shares:
        return None
    largest = max(shares, key=lambda number: shares[number])
    own = int(np.count_nonzero(judged & truth.of(objects)))
    needed = max(np.count_nonzero(judged) / 2, own)
    return largest if shares[largest] > needed else None


def centre_distance(box: Box, mask: np.ndarray) -> float:
    """Pixels between the centre of a box and that of the box around an (H, W) mask, not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top, right, bottom = box
    across = (left + right) / 2 - (columns[0] + columns[-1] + 1) / 2
    down = (top + bottom) / 2 - (rows[0] + rows[-1] + 1) / 2
    return float(np.hypot(across, down))


def failure_of(score: FrameScore, seen: bool) -> str | None:
    """What is wrong with an answer, one of `FAILURES`; None where nothing is.

    Args:
        seen: whether a mask was answered; one on pixels that are not judged does not count.
    """
    answered = seen and score.answered
    if not score.present:
        return FALSE_ALARM if answered else None
    if not answered:
        return MISSED
    overlap = score.region or 0.0
    if overlap > RIGHT_OVERLAP:
        return None
    if overlap < ELSEWHERE_OVERLAP or score.overlap_with_other is not None:
        return WRONG_OBJECT
    return POOR_MASK


@dataclass(frozen=True)
class CommandScores:
    """What a command came to over a stream.

    Attributes:
        frames: frames that it had to answer; frames_dropped: those among them that were dropped.
        frames_with_truth: those that were scored.
        region, boundary: J and F over the frames that show the target; None where none does.
        region_and_boundary: mean of the two means.
        right: whether mean J exceeds 0.5; None where no frame shows the target.
        time_to_acquire: seconds from the command to the first frame with J above 0.5; None where
            there is none.
        identity_switches: how often the track id changed from one frame with a mask to the next.
        frames_lost: frames that show the target and were answered with nothing.
        frames_absent: scored frames without the target; false_alarms: those answered with a mask.
        centre_error: median, pixels; None where no box could be compared.
        failures: how many frames failed in each of the ways of `FAILURES`.
        states: how many frames were answered in each state.
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
    identity_switches: int
    frames_lost: int
    frames_absent: int
    false_alarms: int
    centre_error: float | None
    failures: dict[str, int]
    states: dict[str, int]


class StreamScorer:
    """Collects the frames of one command; keeps a few numbers per frame."""

    def __init__(self, command_id: str, sentence: str, since: float) -> None:
        """Begin.

        Args:
            since: seconds on the clock of the stamps at which the command was given.
        """
        self._command_id = command_id
        self._sentence = sentence
        self._since = since
        self._regions = array("d")
        self._boundaries = array("d")
        self._centre_errors = array("d")
        self._states: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._dropped = self._absent = self._switches = self._track_id = 0
        self._time_to_acquire: float | None = None

    def add(
        self, stamp: float, state: str, track_id: int, score: FrameScore | None, seen: bool
    ) -> None:
        """Take in one frame.

        Args:
            stamp: seconds. state, track_id: of the answer.
            score: None where the frame has no truth.
            seen: whether a mask was answered.
        """
        self._states[state] += 1
        if seen and track_id:
            self._switches += self._track_id not in (0, track_id)
            self._track_id = track_id
        if score is None:
            return
        failure = failure_of(score, seen)
        if failure is not None:
            self._failures[failure] += 1
        if score.region is None or score.boundary is None:
            self._absent += 1
            return
        self._regions.append(score.region)
        self._boundaries.append(score.boundary)
        if score.centre_error is not None:
            self._centre_errors.append(score.centre_error)
        if score.region > RIGHT_OVERLAP and self._time_to_acquire is None:
            self._time_to_acquire = stamp - self._since

    def drop(self) -> None:
        """Count a frame as dropped, besides `add`, which is told what was believed meanwhile."""
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
            identity_switches=self._switches,
            frames_lost=self._failures[MISSED],
            frames_absent=self._absent,
            false_alarms=self._failures[FALSE_ALARM],
            centre_error=float(np.median(self._centre_errors)) if self._centre_errors else None,
            failures={kind: self._failures[kind] for kind in FAILURES},
            states=dict(sorted(self._states.items())),
        )


@dataclass(frozen=True)
class OverallScores:
    """Several commands together.

    Attributes:
        region, boundary, region_and_boundary: means over the commands that have them.
        right: share of the commands whose object was right.
        time_to_acquire, centre_error: medians over the commands that have them.
        identity_switches, frames_lost, frames_absent, false_alarms: sums.
    """

    region: float | None
    boundary: float | None
    region_and_boundary: float | None
    right: float | None
    time_to_acquire: float | None
    identity_switches: int
    frames_lost: int
    frames_absent: int
    false_alarms: int
    centre_error: float | None


def overall_scores(commands: Sequence[CommandScores]) -> OverallScores:
    """Sum up several commands, each of which counts the same."""
    return OverallScores(
        region=_mean([scores.region.mean for scores in commands if scores.region]),
        boundary=_mean([scores.boundary.mean for scores in commands if scores.boundary]),
        region_and_boundary=_mean([scores.region_and_boundary for scores in commands]),
        right=_mean([scores.right for scores in commands]),
        time_to_acquire=_median([scores.time_to_acquire for scores in commands]),
        identity_switches=sum(scores.identity_switches for scores in commands),
        frames_lost=sum(scores.frames_lost for scores in commands),
        frames_absent=sum(scores.frames_absent for scores in commands),
        false_alarms=sum(scores.false_alarms for scores in commands),
        centre_error=_median([scores.centre_error for scores in commands]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
