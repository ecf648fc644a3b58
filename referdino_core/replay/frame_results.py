# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Results of a run's frames: read from the journal as far as it goes, then from the session."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.evaluation.stream_scores import FrameScore
from referdino_core.media.frame_records import target_from_record, target_record
from referdino_core.messages.results import Verdict
from referdino_core.replay.clocks import Scheduled
from referdino_core.replay.commands import CommandLog, GivenCommand
from referdino_core.replay.recording import RecordedFrame
from referdino_core.replay.unfinished_run import UnfinishedRun
from referdino_core.target import Judgement, Target, TargetState

if TYPE_CHECKING:
    from referdino_core.session.engine import Engine

Targets = tuple[Target, ...]


class FrameFailed(ReferDINOError):
    """The session could not process a frame; the message is one line."""


class FrameResults:
    """The results of a run's frames, in order.

    Frames that an earlier attempt processed are read from its journal, without the network; the
    session then resumes from its snapshot.
    """

    def __init__(self, session: Engine, run: UnfinishedRun) -> None:
        self._session = session
        self._run = run
        self._records = run.recorded()
        self._recorded: _Recorded | None = None
        self._begun = 0
        self._is_dropped = False
        self._dropped_before = 0
        self.verdict = Verdict()

    def begin_frame(self) -> None:
        """Advance to the next frame.

        Raises:
            SourceError: the journal is damaged.
        """
        is_recorded = self._begun < self._run.frames_done
        self._recorded = self._read(next(self._records)) if is_recorded else None
        self._begun += 1
        self._is_dropped = False

    def end_frame(self) -> None:
        """After the last frame of the journal, restore the session from the snapshot."""
        self._dropped_before = self._dropped_before + 1 if self._is_dropped else 0
        if self._begun == self._run.frames_done and self._run.remembered is not None:
            self._session.restore(self._run.remembered)

    @property
    def is_recorded(self) -> bool:
        """Whether the current frame was processed in an earlier attempt."""
        return self._recorded is not None

    def step(self, pixels: np.ndarray, seconds: float | None) -> Targets:
        """The targets of the current frame; `verdict` says whether it was judged.

        Args:
            pixels: (H, W, 3) uint8 RGB. seconds: its stamp, None if the camera sets none.

        Raises:
            FrameFailed: the frame could not be processed.
        """
        if self._recorded is not None:
            self.verdict = self._recorded.verdict
            if self._recorded.error:
                raise FrameFailed(self._recorded.error)
            return self._recorded.targets
        try:
            targets = self._session.step(pixels, seconds)
            self.verdict = Verdict(
                self._session.judgement, self._session.reason, self._dropped_before
            )
            return targets
        except ReferDINOError as error:
            raise FrameFailed(" ".join(str(error).split())) from error
        except Exception as error:  # as in the node: one bad frame must not end a long run
            reason = " ".join(str(error).split())
            raise FrameFailed(f"{type(error).__name__}: {reason}") from error

    def skip(self, seconds: float | None) -> None:
        """Report a dropped frame to the session; `seconds`: its stamp."""
        self._is_dropped = True
        if self._recorded is None and seconds is not None:
            self._session.skip(seconds)

    def fail(self, seconds: float | None, reason: str) -> Verdict:
        """The verdict on the current frame, which failed; `seconds`: its stamp."""
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
    """A frame's entry in the journal: why it failed, or its targets."""

    error: str | None
    targets: Targets
    verdict: Verdict


def unjudged(targets: Targets, judgement: Judgement) -> Targets:
    """Targets as they are published for an image that was not judged: empty masks, no boxes."""
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


class LatestResult:
    """The latest available result, which a robot acts on while a newer one is computed."""

    def __init__(self) -> None:
        self._results: deque[tuple[int, Targets]] = deque()

    def add(self, finished: int, targets: Targets) -> None:
        """Add a result and the time (nanoseconds) at which it is available."""
        self._results.append((finished, targets))

    def at(self, time: int, commands: Iterable[GivenCommand], size: tuple[int, int]) -> Targets:
        """The targets of each command at a time, for an image of (height, width) pixels.

        A command without a result yet is in the state "searching".
        """
        while len(self._results) > 1 and self._results[1][0] <= time:
            self._results.popleft()
        known: Sequence[Target] = ()
        if self._results and self._results[0][0] <= time:
            known = self._results[0][1]
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


def frame_record(
    scheduled: Scheduled[RecordedFrame],
    delay: float | None,
    error: str | None,
    verdict: Verdict,
    targets: Targets,
    log: CommandLog,
    scores: Mapping[int, FrameScore | None],
) -> dict[str, Any]:
    """A line of `frames.jsonl`; each target carries the score of its command."""
    truths = {place: None if one is None else asdict(one) for place, one in scores.items()}
    places = [log.place_of(one.command_id, one.command) for one in targets]
    return {
        "index": scheduled.frame.index,
        "stamp": scheduled.frame.stamp,
        "dropped": scheduled.taken is None,
        "delay": delay,
        "error": error,
        "judgement": verdict.judgement.value,
        "reason": verdict.reason,
        "dropped_before": verdict.dropped,
        "targets": [
            {
                "given": place,
                "command": target.command,
                **target_record(target),
                "truth": truths[place],
            }
            for target, place in zip(targets, places, strict=True)
        ],
        "without_target": [
            {"given": place, "command": log.given[place].text, "truth": truth}
            for place, truth in truths.items()
            if place not in places
        ],
    }
