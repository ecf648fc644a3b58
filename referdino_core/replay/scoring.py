# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of a run's commands against ground truth, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from referdino_core.errors import SourceError
from referdino_core.evaluation.ground_truth.base import FrameGroundTruth, GroundTruth
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
    """A command that was given, with the object ids that it means; None if unknown."""

    command: GivenCommand
    objects: tuple[int, ...] | None
    scorer: StreamScorer


class CommandScorer:
    """Scores of a run's commands, for one assignment of results to frames."""

    def __init__(self) -> None:
        self._scored: list[_Scored] = []
        self._first_objects = FirstObjects()

    def begin(self, command: GivenCommand, objects: tuple[int, ...] | None) -> None:
        """Start scoring a command; `objects`: the ids that it means, None if unknown."""
        scorer = StreamScorer(command.command_id, command.text, command.at, self._first_objects)
        self._scored.append(_Scored(command, objects, scorer))

    def add(
        self,
        truth: FrameGroundTruth | None,
        seconds: float,
        dropped: bool,
        targets: Sequence[Target],
        running: Iterable[GivenCommand],
        stale: bool = False,
    ) -> dict[int, FrameScore | None]:
        """Score one frame.

        Args:
            truth: ground truth of the frame, in the size of the targets' masks.
            seconds: from the first frame to when the targets were available.
            dropped: whether the clock dropped the frame.
            targets: any number per command; none is an empty prediction.
            running: the active commands.
            stale: whether the targets are those of an earlier image. Their masks may lie on another
                object because it moved, so they count towards no lent ids.

        Returns:
            The score of every active command by its place among all commands; None without ground
            truth.
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
                if stale:
                    tracks = replace(tracks, lies_on=[None] * len(tracks.tracks))
            if dropped:
                one.scorer.drop()
            one.scorer.add(seconds, state_of([target.state.value for target in own]), score, tracks)
            scores[place] = score
        return scores

    def summary(self) -> dict[str, Any]:
        """Scores of every command whose objects are known (`given` is its place), and of all."""
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
    """Scores of a run: of each frame's own result, and streaming.

    Attributes:
        results: each processed frame is scored with its own result, however late that came, each
            dropped one with the latest result available when it arrived.
        streaming: every frame is scored with the latest result available when it arrived (Li et
            al., "Towards Streaming Perception", ECCV 2020); None without simulated latency.

    Args:
        truth: None without ground truth.
    """

    def __init__(self, truth: GroundTruth | None, has_delays: bool) -> None:
        self.results = CommandScorer()
        self.streaming = CommandScorer() if has_delays else None
        self._truth = truth
        self._unknown: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        """Frames without ground truth and commands whose objects are unknown, a line each."""
        gaps = [] if self._truth is None else self._truth.gaps
        return [*gaps, *self._unknown]

    def check(self, changes: Iterable[CommandChange]) -> None:
        """Check that the objects of all commands are known.

        Raises:
            SourceError: a command's objects are unknown; the message says how to name them.
        """
        if self._truth is not None:
            for change in changes:
                if change.text.strip():
                    self._truth.resolve(change.text, change.objects)

    def begin(self, commands: Iterable[GivenCommand]) -> None:
        """Start scoring commands that were just given."""
        for command in commands:
            objects = self._objects(command)
            self.results.begin(command, objects)
            if self.streaming is not None:
                self.streaming.begin(command, objects)

    def truth_of(
        self, frame: RecordedFrame, size: tuple[int, int] | None
    ) -> FrameGroundTruth | None:
        """Ground truth of a frame; call it once per frame. `size`: see `GroundTruth.for_image`."""
        return (
            None if self._truth is None else self._truth.for_image(frame.index, frame.stamp, size)
        )

    def summary(self) -> dict[str, Any] | None:
        """Scores per command and overall, with those of streaming under "streaming" (or None);
        None without ground truth.
        """
        if self._truth is None:
            return None
        streaming = None if self.streaming is None else self.streaming.summary()
        return {**self.results.summary(), "streaming": streaming}

    def _objects(self, command: GivenCommand) -> tuple[int, ...] | None:
        if self._truth is None:
            return None
        try:
            return self._truth.resolve(command.text, command.objects)
        except SourceError as error:
            self._unknown[f"{command.text!r} is not scored: {error}"] = None
            return None
