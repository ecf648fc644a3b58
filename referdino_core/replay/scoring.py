# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's commands, frame by frame, where there is ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from referdino_core.errors import SourceError
from referdino_core.evaluation.ground_truth.base import FrameTruth, Truth
from referdino_core.evaluation.stream_scores import (
    FrameScore,
    StreamScorer,
    overall_scores,
    score_frame,
    state_of,
)
from referdino_core.evaluation.tracking_measures import FirstObjects, frame_tracks
from referdino_core.replay.commands import CommandChange, GivenCommand
from referdino_core.replay.recording import RecordedFrame

if TYPE_CHECKING:
    from referdino_core.target import Target


@dataclass(frozen=True)
class _Scored:
    """A command that was given, and the ids that it means; None where nobody knows."""

    command: GivenCommand
    objects: tuple[int, ...] | None
    scorer: StreamScorer


class CommandScorer:
    """Scores the commands of a run against one way to put answers beside frames."""

    def __init__(self) -> None:
        self._scored: list[_Scored] = []
        self._first_objects = FirstObjects()

    def begin(self, command: GivenCommand, objects: tuple[int, ...] | None) -> None:
        """Take up a command that was given just now, and the ids that it means."""
        scorer = StreamScorer(command.command_id, command.text, command.at, self._first_objects)
        self._scored.append(_Scored(command, objects, scorer))

    def add(
        self,
        truth: FrameTruth | None,
        seconds: float,
        dropped: bool,
        targets: Sequence[Target],
        running: Iterable[GivenCommand],
        believed: bool = False,
    ) -> dict[int, FrameScore | None]:
        """Score one frame.

        Args:
            truth: of the frame, in the size of the targets' masks.
            seconds: from the first frame to when the targets were there, or believed.
            dropped: whether the clock dropped the frame.
            targets: any number per command; none is an empty answer.
            running: the commands that had to answer.
            believed: whether the targets answer an earlier image. Their masks may lie on another
                object because it moved, so they lend no ids.

        Returns:
            A score for every running command by its place among all that were given, None where
            there is no ground truth.
        """
        scores: dict[int, FrameScore | None] = {}
        for command in running:
            place = self._place_of(command)
            one = self._scored[place]
            own = [
                target
                for target in targets
                if (target.command_id, target.command) == (command.command_id, command.text)
            ]
            score = tracks = None
            if truth is not None and one.objects is not None:
                score = score_frame(own, truth, one.objects)
                tracks = frame_tracks(own, truth, one.objects)
                if believed:
                    tracks = replace(tracks, lies_on=[None] * len(tracks.tracks))
            if dropped:
                one.scorer.drop()
            one.scorer.add(seconds, state_of([target.state.value for target in own]), score, tracks)
            scores[place] = score
        return scores

    def summary(self) -> dict[str, Any]:
        """Scores of every command whose objects are known, `given` its place, and of all."""
        results = {
            place: one.scorer.result()
            for place, one in enumerate(self._scored)
            if one.objects is not None
        }
        return {
            "commands": [{"given": place, **asdict(one)} for place, one in results.items()],
            "all": asdict(overall_scores(list(results.values()))),
        }

    def _place_of(self, command: GivenCommand) -> int:
        return next(place for place, one in enumerate(self._scored) if one.command is command)


class RunScorer:
    """Scores every command of a run.

    Attributes:
        answers: an answered frame is judged by its own answer, however late that came, a dropped
            one by what was believed when it came.
        streaming: every frame is judged by what was believed when it came (Li et al., "Towards
            Streaming Perception", ECCV 2020); None where answers take no time.

    Args:
        truth: None where there is none.
    """

    def __init__(self, truth: Truth | None, has_delays: bool) -> None:
        self.answers = CommandScorer()
        self.streaming = CommandScorer() if has_delays else None
        self._truth = truth
        self._unknown: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        """Frames without ground truth, and commands whose objects nobody knows, a line each."""
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

    def begin(self, commands: Iterable[GivenCommand]) -> None:
        """Take up commands that were given just now."""
        for command in commands:
            objects = self._objects(command)
            self.answers.begin(command, objects)
            if self.streaming is not None:
                self.streaming.begin(command, objects)

    def truth_of(self, frame: RecordedFrame, size: tuple[int, int] | None) -> FrameTruth | None:
        """Ground truth of a frame, asked for once; `size`: see `Truth.for_image`."""
        return (
            None if self._truth is None else self._truth.for_image(frame.index, frame.stamp, size)
        )

    def summary(self) -> dict[str, Any] | None:
        """Scores of every command and of all together, and those of streaming likewise or None;
        None without ground truth.
        """
        if self._truth is None:
            return None
        streaming = None if self.streaming is None else self.streaming.summary()
        return {**self.answers.summary(), "streaming": streaming}

    def _objects(self, command: GivenCommand) -> tuple[int, ...] | None:
        if self._truth is None:
            return None
        try:
            return self._truth.resolve(command.text, command.objects)
        except SourceError as error:
            self._unknown[f"{command.text!r} is not scored: {error}"] = None
            return None
