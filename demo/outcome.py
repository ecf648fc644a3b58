# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Outcome of a demo: published frames and results per command, and their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from referdino.msg import ReferredObject

from demo.graph import Publication
from demo.streaming import Result
from referdino_core.evaluation.davis import RIGHT_OVERLAP, region_similarity
from referdino_core.evaluation.recorded_scene import Scene
from referdino_core.messages import run_lengths
from referdino_core.world.timed_commands import TimedCommand


@dataclass(frozen=True)
class CommandRun:
    """A command and the frames that were published while it was active.

    Attributes:
        command: with its target, if it is known.
        frames: from the publication of this command to that of the next one.
        results: of the frames that were processed for this command, by frame number.
    """

    command: TimedCommand
    frames: tuple[Publication, ...]
    results: Mapping[int, Result]

    @property
    def latencies(self) -> list[float]:
        """Milliseconds from the stamp of each processed image to the arrival of its result."""
        return [(result.received - result.stamp) * 1e-6 for result in self.results.values()]

    def object_in(self, number: int) -> ReferredObject:
        """The object that the node published for this command in a processed frame."""
        return next(
            entry
            for entry in self.results[number].message.objects
            if entry.command == self.command.text
        )

    def mask_in(self, number: int) -> np.ndarray:
        """Its mask, (H, W) bool."""
        mask = self.object_in(number).mask
        return run_lengths.decode(mask.counts, mask.height, mask.width)


@dataclass(frozen=True)
class Outcome:
    """Outcome of a demo.

    Attributes:
        source: the camera's source or its recording, which can be read again.
        frame_rate: its frames per second.
        frames: published frames, in order, with their numbers in the source.
        results: by the stamps of the frames.
        runs: the commands in order.
        scene: the ground truth; None if unknown.
    """

    source: str
    frame_rate: float
    frames: tuple[Publication, ...]
    results: Mapping[int, Result]
    runs: tuple[CommandRun, ...]
    scene: Scene | None


def command_runs(
    commands: Sequence[TimedCommand],
    sent: Sequence[Publication],
    frames: Sequence[Publication],
    results: Mapping[int, Result],
) -> tuple[CommandRun, ...]:
    """Assign the frames to the commands, by the times of publication.

    Args:
        commands: the schedule.
        sent: published commands, in order; the first before any frame.
        frames: published frames.
        results: by the stamps of the frames.
    """
    sent_at = {publication.number: publication.stamp for publication in sent}
    never = max((frame.stamp for frame in frames), default=0) + 1
    starts = [0, *(sent_at.get(number, never) for number in range(1, len(commands)))]
    runs = []
    for command, start, end in zip(commands, starts, [*starts[1:], never], strict=True):
        own = tuple(frame for frame in frames if start <= frame.stamp < end)
        processed = {
            frame.number: results[frame.stamp]
            for frame in own
            if frame.stamp in results and _speaks_of(command.text, results[frame.stamp])
        }
        runs.append(CommandRun(command, own, processed))
    return tuple(runs)


def _speaks_of(text: str, result: Result) -> bool:
    return any(entry.command == text for entry in result.message.objects)


LONGEST_TEXT = 60
"""Maximum number of characters of a command in the table."""
_WORD_COLUMNS = 2


def table(outcome: Outcome) -> str:
    """A heading and one line per command; states and scores replace a missing ground truth."""
    verdict = "picked object" if outcome.scene else "object seen in"
    score = "mean IoU" if outcome.scene else "mean score"
    heading = ("command", verdict, score, "frames in", "processed", "median latency", "p95")
    rows = [heading, *(_row(run, outcome.scene) for run in outcome.runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < _WORD_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def overlap_in(run: CommandRun, number: int, scene: Scene) -> float | None:
    """IoU with the ground truth in a processed frame; None if the target is not visible."""
    truth = scene.segmentation[number] == run.command.target
    if np.count_nonzero(truth) < scene.visible_area:
        return None
    return region_similarity(run.mask_in(number), truth)


def _row(run: CommandRun, scene: Scene | None) -> tuple[str, ...]:
    text, frames, processed = _shortened(run.command.text), len(run.frames), len(run.results)
    if not run.results:
        return text, "no result", "", str(frames), str(processed), "", ""
    verdict, score = _scored(run, scene) if scene else _unscored(run)
    return (
        text,
        verdict,
        "none" if score is None else f"{score:.2f}",
        str(frames),
        str(processed),
        f"{np.median(run.latencies):.0f} ms",
        f"{np.percentile(run.latencies, 95):.0f} ms",
    )


def _scored(run: CommandRun, scene: Scene) -> tuple[str, float | None]:
    """Whether the right object was found (mean IoU above 0.5), else which, and the mean IoU."""
    overlaps = [overlap_in(run, number, scene) for number in run.results]
    seen = [overlap for overlap in overlaps if overlap is not None]
    if not seen:
        return "target not in view", None
    mean = float(np.mean(seen))
    return ("right" if mean > RIGHT_OVERLAP else f"wrong: {_picked(run, scene)}"), mean


def _picked(run: CommandRun, scene: Scene) -> str:
    """The object that most of the pixels of a run's masks belong to."""
    covered = np.zeros(len(scene.objects) + 1, int)
    for number in run.results:
        labels = scene.segmentation[number][run.mask_in(number)]
        covered += np.bincount(labels, minlength=len(covered))
    if not covered.any():
        return "nothing"
    picked = int(covered.argmax())
    if picked == 0:
        return "background"
    return "poor mask" if picked == run.command.target else scene.objects[picked - 1]


def _unscored(run: CommandRun) -> tuple[str, float | None]:
    """Number of processed frames in which the object was seen, and its mean score there."""
    objects = [run.object_in(number) for number in run.results]
    scores = [entry.score for entry in objects if entry.state == ReferredObject.TRACKING]
    mean = float(np.mean(scores)) if scores else None
    return f"{len(scores)} of {len(objects)} frames", mean


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
