# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Answers to frames: from the journal as far as it goes, then from the session."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.media.frame_records import target_from_record
from referdino_core.messages.results import Verdict
from referdino_core.replay.commands import GivenCommand
from referdino_core.replay.unfinished_run import UnfinishedRun
from referdino_core.target import Judgement, Target, TargetState

if TYPE_CHECKING:
    from referdino_core.session import Session

Targets = tuple[Target, ...]


class AnswerFailed(ReferDINOError):
    """The session could not answer a frame; the message is one line."""


class Answers:
    """Answers the frames of a run in their order.

    What an earlier attempt answered is taken from its journal, without the network; the session
    then goes on from its snapshot.
    """

    def __init__(self, session: Session, run: UnfinishedRun) -> None:
        self._session = session
        self._run = run
        self._records = run.recorded()
        self._recorded: _Recorded | None = None
        self._begun = 0
        self._is_dropped = False
        self._dropped_before = 0
        self.verdict = Verdict()

    def begin_frame(self) -> None:
        """Turn to the next frame.

        Raises:
            SourceError: the journal is damaged.
        """
        is_recorded = self._begun < self._run.frames_done
        self._recorded = self._read(next(self._records)) if is_recorded else None
        self._begun += 1
        self._is_dropped = False

    def end_frame(self) -> None:
        """Let the session go on where an earlier attempt ended, once its frames are behind us."""
        self._dropped_before = self._dropped_before + 1 if self._is_dropped else 0
        if self._begun == self._run.frames_done and self._run.remembered is not None:
            self._session.restore(self._run.remembered)

    @property
    def is_recorded(self) -> bool:
        """Whether the present frame was done in an earlier attempt."""
        return self._recorded is not None

    def answer(self, pixels: np.ndarray, seconds: float | None) -> Targets:
        """The targets of the present frame; `verdict` says whether it was judged.

        Args:
            pixels: (H, W, 3) uint8 RGB. seconds: its stamp, None where the camera sets none.

        Raises:
            AnswerFailed: there is no answer.
        """
        if self._recorded is not None:
            self.verdict = self._recorded.verdict
            if self._recorded.error:
                raise AnswerFailed(self._recorded.error)
            return self._recorded.targets
        try:
            targets = self._session.step(pixels, seconds)
            self.verdict = Verdict(
                self._session.judgement, self._session.reason, self._dropped_before
            )
            return targets
        except ReferDINOError as error:
            raise AnswerFailed(" ".join(str(error).split())) from error
        except Exception as error:  # as in the node: one bad frame must not end a long run
            reason = " ".join(str(error).split())
            raise AnswerFailed(f"{type(error).__name__}: {reason}") from error

    def skip(self, seconds: float | None) -> None:
        """Let the session know of a frame that is dropped; `seconds`: its stamp."""
        self._is_dropped = True
        if self._recorded is None and seconds is not None:
            self._session.skip(seconds)

    def fail(self, seconds: float | None, reason: str) -> Verdict:
        """The verdict on the present frame, which could not be answered; `seconds`: its stamp."""
        if self._recorded is not None:
            self.verdict = self._recorded.verdict
        else:
            if seconds is not None:
                self._session.skip(seconds)
            self.verdict = Verdict(Judgement.FAILED, reason, self._dropped_before)
        return self.verdict

    def _read(self, record: dict[str, Any]) -> _Recorded:
        try:
            targets = [target_from_record(one, one["command"]) for one in record["targets"]]
            verdict = Verdict(
                Judgement(record["judgement"]), record["reason"], record["dropped_before"]
            )
            return _Recorded(record["error"], tuple(targets), verdict)
        except (ReferDINOError, LookupError, TypeError, ValueError) as error:
            raise self._run.damaged(f"frame {self._begun}, {error}") from error


@dataclass(frozen=True)
class _Recorded:
    """What the journal says of a frame: why it failed, or what was answered or believed."""

    error: str | None
    targets: Targets
    verdict: Verdict


def unjudged(targets: Targets, judgement: Judgement) -> Targets:
    """Targets as they are published for an image that was not judged: nothing is seen in it."""
    return tuple(
        replace(
            target,
            box=None,
            predicted_box=None,
            mask=np.zeros_like(target.mask),
            judgement=judgement,
        )
        for target in targets
    )


class Belief:
    """What a robot believes while newer answers are being computed."""

    def __init__(self) -> None:
        self._answers: deque[tuple[int, Targets]] = deque()

    def add(self, answered: int, targets: Targets) -> None:
        """Note an answer and when (nanoseconds) it is there."""
        self._answers.append((answered, targets))

    def at(self, time: int, commands: Iterable[GivenCommand], size: tuple[int, int]) -> Targets:
        """The newest answer at a time to each command, in an image of (height, width) pixels.

        A command without an answer yet is being searched for.
        """
        while len(self._answers) > 1 and self._answers[1][0] <= time:
            self._answers.popleft()
        known: Sequence[Target] = ()
        if self._answers and self._answers[0][0] <= time:
            known = self._answers[0][1]
        by_command: dict[tuple[str, str], list[Target]] = {}
        for one in known:
            if one.mask.shape == size:
                by_command.setdefault((one.command_id, one.command), []).append(one)
        return tuple(
            target
            for one in commands
            for target in by_command.get((one.command_id, one.text)) or [_searching(one, size)]
        )


def _searching(command: GivenCommand, size: tuple[int, int]) -> Target:
    return Target(
        command_id=command.command_id,
        command=command.text,
        track_id=0,
        state=TargetState.SEARCHING,
        score=0.0,
        frame_score=0.0,
        box=None,
        mask=np.zeros(size, dtype=bool),
    )
