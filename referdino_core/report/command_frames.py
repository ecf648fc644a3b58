# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What each command answered to one frame, out of a line of a run's `frames.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from referdino_core.evaluation.stream_scores import (
    FALSE_ALARM,
    FrameScore,
    failure_of,
    state_of,
)
from referdino_core.messages import run_lengths


@dataclass(frozen=True)
class CommandFrame:
    """One command in one frame.

    Attributes:
        given: place of the command in the summary. sentence: what it says.
        targets: records of its targets, any number.
        truth: how its answer was scored, a FrameScore as dict; None where there is no ground truth.
    """

    given: int
    sentence: str
    targets: Sequence[Mapping[str, Any]]
    truth: Mapping[str, Any] | None

    @property
    def state(self) -> str:
        """That of its busiest target; searching without targets."""
        return state_of([target["state"] for target in self.targets])

    def highest(self, score: str) -> float | None:
        """The highest `score` or `frame_score` of its targets; None without targets."""
        return max((target[score] for target in self.targets), default=None)

    @cached_property
    def failure(self) -> str:
        """What failed, or "" where nothing did or no truth is known."""
        if self.truth is None:
            return ""
        # Older runs do not say whether a mask was answered.
        seen = bool(self.truth["region"]) or any(map(_has_mask, self.targets))
        return failure_of(FrameScore(**self.truth), seen) or ""

    @property
    def quality(self) -> float | None:
        """How good the answer is: J, or 0 for a false alarm; None where nothing can be said."""
        if self.truth is None:
            return None
        return 0.0 if self.failure == FALSE_ALARM else self.truth["region"]

    def is_masked_as(self, other: CommandFrame) -> bool:
        """Whether another run's targets have the very same masks."""
        mine, others = (
            [target["mask"]["counts"] for target in frame.targets] for frame in (self, other)
        )
        return mine == others

    def mask(self) -> np.ndarray | None:
        """All its targets' masks as one, (H, W) bool; None without targets."""
        masks = [_decoded(target) for target in self.targets]
        return np.logical_or.reduce(masks) if masks else None


def command_frames(frame: Mapping[str, Any]) -> list[CommandFrame]:
    """Every command that had to answer a frame, in the order in which they were given."""
    targets: dict[int, list[Mapping[str, Any]]] = {}
    for target in frame["targets"]:
        targets.setdefault(target["given"], []).append(target)
    found = [
        CommandFrame(given, own[0]["command"], own, own[0]["truth"])
        for given, own in targets.items()
    ]
    found += [
        CommandFrame(entry["given"], entry["command"], (), entry["truth"])
        for entry in frame.get("without_target", ())
    ]
    return sorted(found, key=lambda one: one.given)


def _decoded(target: Mapping[str, Any]) -> np.ndarray:
    mask = target["mask"]
    return run_lengths.decode(mask["counts"], *mask["size"])


def _has_mask(target: Mapping[str, Any]) -> bool:
    return bool(_decoded(target).any())
