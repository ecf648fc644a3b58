# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What was published and answered while a demo ran, command by command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from referdino.msg import ReferredObject

from demo.listener import Answer
from demo.publications import Publication
from referdino_core.evaluation.recorded_scene import Scene
from referdino_core.messages import run_lengths
from referdino_core.world.timed_commands import TimedCommand


@dataclass(frozen=True)
class CommandRun:
    """A command and the frames that were published while it ran.

    Attributes:
        command: with its target where that is known.
        frames: from the publication of this command to that of the next one.
        answers: to those of the frames that were answered for this command, by frame number.
    """

    command: TimedCommand
    frames: tuple[Publication, ...]
    answers: Mapping[int, Answer]

    @property
    def latencies(self) -> list[float]:
        """From the stamp of each answered image to the arrival of the answer, milliseconds."""
        return [(answer.received - answer.stamp) * 1e-6 for answer in self.answers.values()]

    def object_in(self, number: int) -> ReferredObject:
        """What the node said of this command in an answered frame."""
        return next(
            entry
            for entry in self.answers[number].message.objects
            if entry.command == self.command.text
        )

    def mask_in(self, number: int) -> np.ndarray:
        """Its mask, (H, W) bool."""
        mask = self.object_in(number).mask
        return run_lengths.decode(mask.counts, mask.height, mask.width)


@dataclass(frozen=True)
class Outcome:
    """A finished demo.

    Attributes:
        source: what the camera played, which can be read again.
        frame_rate: its frames per second.
        frames: that were published, in order; their numbers are those of the source.
        answers: by the stamps of the frames.
        runs: the commands in order.
        scene: the ground truth, where it is known.
    """

    source: str
    frame_rate: float
    frames: tuple[Publication, ...]
    answers: Mapping[int, Answer]
    runs: tuple[CommandRun, ...]
    scene: Scene | None


def command_runs(
    commands: Sequence[TimedCommand],
    sent: Sequence[Publication],
    frames: Sequence[Publication],
    answers: Mapping[int, Answer],
) -> tuple[CommandRun, ...]:
    """Share the frames out among the commands, by when each was published.

    Args:
        commands: the schedule.
        sent: those of them that were published, in order; the first before any frame.
        frames: that were published.
        answers: by the stamps of the frames.
    """
    sent_at = {publication.number: publication.stamp for publication in sent}
    never = max((frame.stamp for frame in frames), default=0) + 1
    starts = [0, *(sent_at.get(number, never) for number in range(1, len(commands)))]
    runs = []
    for command, start, end in zip(commands, starts, [*starts[1:], never], strict=True):
        own = tuple(frame for frame in frames if start <= frame.stamp < end)
        answered = {
            frame.number: answers[frame.stamp]
            for frame in own
            if frame.stamp in answers and _speaks_of(command.text, answers[frame.stamp])
        }
        runs.append(CommandRun(command, own, answered))
    return tuple(runs)


def _speaks_of(text: str, answer: Answer) -> bool:
    return any(entry.command == text for entry in answer.message.objects)
