# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's commands, frame by frame, where there is truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from referdino_core.errors import SourceError
from referdino_core.evaluation.stream_scores import (
    FrameScore,
    StreamScorer,
    overall_scores,
    score_frame,
)
from referdino_core.evaluation.truth.base import FrameTruth, Truth
from referdino_core.replay.commands import CommandChange, GivenCommand
from referdino_core.replay.recording import RecordedFrame

if TYPE_CHECKING:
    from referdino_core.session import Target


class RunScorer:
    """Scores every command of a run.

    Args:
        truth: None where there is none.
    """

    def __init__(self, truth: Truth | None) -> None:
        self._truth = truth
        self._scored: list[tuple[GivenCommand, tuple[int, ...] | None, StreamScorer]] = []
        self._unknown: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        """Frames without truth, and commands whose objects nobody knows, a line each."""
        gaps = [] if self._truth is None else self._truth.gaps
        return [*gaps, *self._unknown]

    def check(self, changes: Iterable[CommandChange]) -> None:
        """Look ahead whether the objects of commands are known.

        Raises:
            SourceError: those of one are not; the message says how to name them.
        """
        if self._truth is not None:
            for change in changes:
                if change.text.strip():
                    self._truth.resolve(change.text, change.objects)

    def begin(self, commands: Sequence[GivenCommand]) -> None:
        """Take up commands that were given just now."""
        for command in commands:
            scorer = StreamScorer(command.command_id, command.text, command.at)
            self._scored.append((command, self._objects(command), scorer))

    def truth_of(self, frame: RecordedFrame, size: tuple[int, int] | None) -> FrameTruth | None:
        """Truth of a frame, asked for once; `size`: see `Truth.for_image`."""
        return (
            None if self._truth is None else self._truth.for_image(frame.index, frame.stamp, size)
        )

    def add(
        self, truth: FrameTruth | None, seconds: float, dropped: bool, targets: Sequence[Target]
    ) -> list[FrameScore | None]:
        """Score one frame.

        Args:
            truth: of the frame, in the size of the targets' masks.
            seconds: from the first frame to when the targets were there, or believed.
            dropped: whether the clock dropped the frame.
            targets: one per running command.

        Returns:
            One score per target, None where there is no truth.
        """
        scores: list[FrameScore | None] = []
        for target in targets:
            objects, scorer = self._of(target)
            score = None
            if truth is not None and objects is not None:
                score = score_frame(target, truth, objects)
            if dropped:
                scorer.drop()
            scorer.add(seconds, target.state.value, target.track_id, score, bool(target.mask.any()))
            scores.append(score)
        return scores

    def summary(self) -> dict[str, Any] | None:
        """Scores of every command, `given` its place, and of all together; None without truth."""
        if self._truth is None:
            return None
        results = {
            place: scorer.result()
            for place, (_, objects, scorer) in enumerate(self._scored)
            if objects is not None
        }
        return {
            "commands": [{"given": place, **asdict(one)} for place, one in results.items()],
            "all": asdict(overall_scores(list(results.values()))),
        }

    def _of(self, target: Target) -> tuple[tuple[int, ...] | None, StreamScorer]:
        """The newest command that a target answers."""
        for command, objects, scorer in reversed(self._scored):
            if (command.command_id, command.text) == (target.command_id, target.command):
                return objects, scorer
        raise LookupError(f"nobody gave the command {target.command!r}")

    def _objects(self, command: GivenCommand) -> tuple[int, ...] | None:
        if self._truth is None:
            return None
        try:
            return self._truth.resolve(command.text, command.objects)
        except SourceError as error:
            self._unknown[f"{command.text!r} is not scored: {error}"] = None
            return None
