# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The figures that a run is judged by: what they are called, how they read, what is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from referdino_core.report import figures_in_words as words

Summing = Literal["mean", "median", "sum"]


@dataclass(frozen=True)
class Measure:
    """One figure of a command.

    Attributes:
        key: its name in `scores.all` of a summary.
        name: in tables. explanation: in one sentence.
        summing: how commands come to one figure.
        higher_is_better: which way is up.
        format: value to text.
        of: the value in the scores of one command (CommandScores as dict), None where it has none.
    """

    key: str
    name: str
    explanation: str
    summing: Summing
    higher_is_better: bool
    format: Callable[[float | None], str]
    of: Callable[[Mapping[str, Any]], float | None]


def _mean_of(key: str) -> Callable[[Mapping[str, Any]], float | None]:
    def read(scores: Mapping[str, Any]) -> float | None:
        statistics = scores.get(key)
        return None if statistics is None else statistics["mean"]

    return read


def _value_of(key: str) -> Callable[[Mapping[str, Any]], float | None]:
    def read(scores: Mapping[str, Any]) -> float | None:
        value = scores.get(key)
        return None if value is None else float(value)

    return read


MEASURES = (
    Measure(
        "region_and_boundary",
        "J&F",
        "mean of region similarity and boundary accuracy",
        "mean",
        True,
        words.ratio,
        _value_of("region_and_boundary"),
    ),
    Measure(
        "region",
        "J",
        "region similarity: overlap of answer and truth",
        "mean",
        True,
        words.ratio,
        _mean_of("region"),
    ),
    Measure("boundary", "F", "boundary accuracy", "mean", True, words.ratio, _mean_of("boundary")),
    Measure(
        "right",
        "right object",
        "commands whose mean J exceeds 0.5",
        "mean",
        True,
        words.share,
        _value_of("right"),
    ),
    Measure(
        "time_to_acquire",
        "time to acquire",
        "from the command to the first frame with J above 0.5, median",
        "median",
        False,
        words.seconds,
        _value_of("time_to_acquire"),
    ),
    Measure(
        "identity_switches",
        "identity switches",
        "changes of the followed object",
        "sum",
        False,
        words.count,
        _value_of("identity_switches"),
    ),
    Measure(
        "frames_lost",
        "frames lost",
        "target present, nothing answered",
        "sum",
        False,
        words.count,
        _value_of("frames_lost"),
    ),
    Measure(
        "false_alarms",
        "false alarms",
        "frames without the target that were answered",
        "sum",
        False,
        words.count,
        _value_of("false_alarms"),
    ),
    Measure(
        "centre_error",
        "centre error",
        "distance of the box centres, median",
        "median",
        False,
        words.pixels,
        _value_of("centre_error"),
    ),
)
