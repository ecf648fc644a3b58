# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The figures that a run is judged by: what they are called, how they read, what is better.

Scores are those of one command or of all together, as a run folder has them. What an older run did
not measure is None, "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from referdino_core.report import formatting as words

RIGHT_OBJECT = "right object"

Summing = Literal["mean", "median", "ratio", "sum"]
Scores = Mapping[str, Any]


def _uncounted(scores: Scores) -> None:
    return None


@dataclass(frozen=True)
class Measure:
    """One figure.

    Attributes:
        name: in tables. explanation: in one sentence.
        summing: how commands come to one figure; a ratio is that of the sums of `parts`.
        higher_is_better: which way is up.
        format: value to text.
        of: the value; infinity for never, None where it is unknown or does not apply.
        parts: numerator and denominator of a ratio, None where they are unknown.
        counted: how many of how many frames or commands have a value, None where that says nothing.
        optional: whether it is left out where no command has it.
    """

    name: str
    explanation: str
    summing: Summing
    higher_is_better: bool
    format: Callable[[float | None], str]
    of: Callable[[Scores], float | None]
    parts: Callable[[Scores], tuple[float, float] | None] = _uncounted
    counted: Callable[[Scores], tuple[int, int] | None] = _uncounted
    optional: bool = False

    def text(self, scores: Scores) -> str:
        """The value in words, with "n of m" where it is counted."""
        counts = self.counted(scores)
        value = self.format(self.of(scores))
        return value if counts is None else f"{value} ({counts[0]} of {counts[1]})"


def measure_named(name: str) -> Measure:
    """The measure of this name."""
    return next(measure for measure in MEASURES if measure.name == name)


def _value_of(*path: str) -> Callable[[Scores], float | None]:
    """Reads a number; of statistics over a sequence, the mean."""

    def read(scores: Scores) -> float | None:
        value: Any = scores
        for key in path:
            value = None if value is None else value.get(key)
        if isinstance(value, Mapping):
            value = value["mean"]
        return None if value is None else float(value)

    return read


def _or_never(key: str) -> Callable[[Scores], float | None]:
    def read(scores: Scores) -> float | None:
        if scores.get(key) is not None:
            return float(scores[key])
        return math.inf if scores.get("region") is not None else None

    return read


def _acquired(scores: Scores) -> tuple[int, int] | None:
    if not scores.get("commands_shown"):
        return None
    return scores["commands_acquired"], scores["commands_shown"]


def _located(scores: Scores) -> tuple[int, int] | None:
    if scores.get("commands_shown"):
        return scores["commands_located"], scores["commands_shown"]
    if scores.get("frames_located") is None or scores.get("region") is None:
        return None
    return scores["frames_located"], scores["frames_with_truth"] - scores["frames_absent"]


def _mota_parts(scores: Scores) -> tuple[float, float] | None:
    found = scores.get("tracking")
    if found is None:
        return None
    wrong = found["false_positives"] + found["identity_switches"]
    return found["matches"] - wrong, found["ground_truths"]


def _idf1_parts(scores: Scores) -> tuple[float, float] | None:
    found = scores.get("tracking")
    if found is None:
        return None
    masks = found["matches"] + found["false_positives"]
    return 2 * found["identity_matches"], found["ground_truths"] + masks


STREAMING = Measure(
    "J&F, streaming",
    "each frame against the newest answer that was there when it came",
    "mean",
    True,
    words.ratio,
    _value_of("streaming", "region_and_boundary"),
    optional=True,
)

MEASURES = (
    Measure(
        "J&F",
        "mean of region similarity and boundary accuracy",
        "mean",
        True,
        words.ratio,
        _value_of("region_and_boundary"),
    ),
    Measure(
        "J",
        "region similarity: overlap of prediction and ground truth",
        "mean",
        True,
        words.ratio,
        _value_of("region"),
    ),
    Measure("F", "boundary accuracy", "mean", True, words.ratio, _value_of("boundary")),
    STREAMING,
    Measure(
        RIGHT_OBJECT,
        "commands whose mean J exceeds 0.5",
        "mean",
        True,
        words.share,
        _value_of("right"),
    ),
    Measure(
        "time to acquire",
        "from the command to the first frame with J above 0.5, median",
        "median",
        False,
        words.seconds,
        _or_never("time_to_acquire"),
        counted=_acquired,
    ),
    Measure(
        "IDF1",
        "share of masks and objects that agree if every object keeps one id",
        "ratio",
        True,
        words.ratio,
        _value_of("tracking", "idf1"),
        parts=_idf1_parts,
    ),
    Measure(
        "MOTA",
        "1 minus misses, false positives and identity switches per object to be found",
        "ratio",
        True,
        words.signed_ratio,
        _value_of("tracking", "mota"),
        parts=_mota_parts,
    ),
    Measure(
        "identity switches",
        "a true object is found under another id than before",
        "sum",
        False,
        words.count,
        _value_of("tracking", "identity_switches"),
    ),
    Measure(
        "lent ids",
        "frames in which a mask lies on another object than its id did first",
        "sum",
        False,
        words.count,
        _value_of("tracking", "lent_id_frames"),
    ),
    Measure(
        "frames lost",
        "target present, nothing answered",
        "sum",
        False,
        words.count,
        _value_of("frames_lost"),
    ),
    Measure(
        "false alarms",
        "frames without the target that were answered",
        "sum",
        False,
        words.count,
        _value_of("false_alarms"),
    ),
    Measure(
        "centre error",
        "distance of the box centres, median",
        "median",
        False,
        words.pixels,
        _or_never("centre_error"),
        counted=_located,
    ),
)
