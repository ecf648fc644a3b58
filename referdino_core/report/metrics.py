# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics of a run: names, explanations, formats, aggregation, and which direction is better.

Scores are those of one command or of all together, as a run folder has them. A metric that an older
run did not record is None, "unknown".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from referdino_core.report import formatting

RIGHT_OBJECT = "right object"

Aggregation = Literal["mean", "median", "ratio", "sum"]
Scores = Mapping[str, Any]


def _uncounted(scores: Scores) -> None:
    return None


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: in tables. explanation: in one sentence.
        aggregation: how the values of commands are combined; a ratio is that of the sums of
            `parts`.
        higher_is_better: direction of improvement.
        format: value to text.
        of: the value; infinite for "never", None if unknown or not applicable.
        parts: numerator and denominator of a ratio; None if unknown.
        counted: how many of how many frames or commands have a value; None if not meaningful.
        optional: whether to leave it out if no command has it.
    """

    name: str
    explanation: str
    aggregation: Aggregation
    higher_is_better: bool
    format: Callable[[float | None], str]
    of: Callable[[Scores], float | None]
    parts: Callable[[Scores], tuple[float, float] | None] = _uncounted
    counted: Callable[[Scores], tuple[int, int] | None] = _uncounted
    optional: bool = False

    def text(self, scores: Scores) -> str:
        """The formatted value, with "n of m" if it is counted."""
        counts = self.counted(scores)
        value = self.format(self.of(scores))
        return value if counts is None else f"{value} ({counts[0]} of {counts[1]})"


def metric_named(name: str) -> Metric:
    """The metric of this name."""
    return next(metric for metric in METRICS if metric.name == name)


def _value_of(*path: str) -> Callable[[Scores], float | None]:
    """A function that reads a number, or the mean of sequence statistics."""

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


STREAMING = Metric(
    "J&F, streaming",
    "each frame scored with the latest result available when it arrived",
    "mean",
    True,
    formatting.ratio,
    _value_of("streaming", "region_and_boundary"),
    optional=True,
)

METRICS = (
    Metric(
        "J&F",
        "mean of region similarity and boundary accuracy",
        "mean",
        True,
        formatting.ratio,
        _value_of("region_and_boundary"),
    ),
    Metric(
        "J",
        "region similarity: overlap of prediction and ground truth",
        "mean",
        True,
        formatting.ratio,
        _value_of("region"),
    ),
    Metric("F", "boundary accuracy", "mean", True, formatting.ratio, _value_of("boundary")),
    STREAMING,
    Metric(
        RIGHT_OBJECT,
        "commands whose mean J exceeds 0.5",
        "mean",
        True,
        formatting.percentage,
        _value_of("right"),
    ),
    Metric(
        "time to acquire",
        "from the command to the first frame with J above 0.5, median",
        "median",
        False,
        formatting.seconds,
        _or_never("time_to_acquire"),
        counted=_acquired,
    ),
    Metric(
        "IDF1",
        "fraction of masks and objects that agree if every object keeps one id",
        "ratio",
        True,
        formatting.ratio,
        _value_of("tracking", "idf1"),
        parts=_idf1_parts,
    ),
    Metric(
        "MOTA",
        "1 minus misses, false positives and identity switches per object to be found",
        "ratio",
        True,
        formatting.signed_ratio,
        _value_of("tracking", "mota"),
        parts=_mota_parts,
    ),
    Metric(
        "identity switches",
        "a true object is found under another id than before",
        "sum",
        False,
        formatting.count,
        _value_of("tracking", "identity_switches"),
    ),
    Metric(
        "lent ids",
        "frames in which a mask lies on another object than its id did first",
        "sum",
        False,
        formatting.count,
        _value_of("tracking", "lent_id_frames"),
    ),
    Metric(
        "frames lost",
        "target present, no mask predicted",
        "sum",
        False,
        formatting.count,
        _value_of("frames_lost"),
    ),
    Metric(
        "false alarms",
        "frames without the target, but with a predicted mask",
        "sum",
        False,
        formatting.count,
        _value_of("false_alarms"),
    ),
    Metric(
        "centre error",
        "distance of the box centres, median",
        "median",
        False,
        formatting.pixels,
        _or_never("centre_error"),
        counted=_located,
    ),
)
