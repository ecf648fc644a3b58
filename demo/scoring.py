# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What each command came to: one line per command."""

from __future__ import annotations

import numpy as np
from referdino.msg import ReferredObject

from demo.outcome import CommandRun, Outcome
from referdino_core.evaluation.davis import RIGHT_OVERLAP, region_similarity
from referdino_core.evaluation.recorded_scene import Scene

LONGEST_TEXT = 60
"""Characters of a command that are shown."""
_WORD_COLUMNS = 2


def table(outcome: Outcome) -> str:
    """A heading and one line per command; without ground truth, states and scores stand for it."""
    verdict = "picked object" if outcome.scene else "object seen in"
    score = "mean IoU" if outcome.scene else "mean score"
    heading = ("command", verdict, score, "frames in", "answered", "median latency", "p95")
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
    """IoU with the ground truth in an answered frame; None where nothing is to be seen."""
    truth = scene.segmentation[number] == run.command.target
    if np.count_nonzero(truth) < scene.visible_area:
        return None
    return region_similarity(run.mask_in(number), truth)


def _row(run: CommandRun, scene: Scene | None) -> tuple[str, ...]:
    text, frames, answered = _shortened(run.command.text), len(run.frames), len(run.answers)
    if not run.answers:
        return text, "no answer", "", str(frames), str(answered), "", ""
    verdict, score = _judged(run, scene) if scene else _unjudged(run)
    return (
        text,
        verdict,
        "none" if score is None else f"{score:.2f}",
        str(frames),
        str(answered),
        f"{np.median(run.latencies):.0f} ms",
        f"{np.percentile(run.latencies, 95):.0f} ms",
    )


def _judged(run: CommandRun, scene: Scene) -> tuple[str, float | None]:
    """Whether the right object was picked (mean IoU above 0.5), else which, and the mean IoU."""
    overlaps = [overlap_in(run, number, scene) for number in run.answers]
    seen = [overlap for overlap in overlaps if overlap is not None]
    if not seen:
        return "target not in view", None
    mean = float(np.mean(seen))
    return ("right" if mean > RIGHT_OVERLAP else f"wrong: {_picked(run, scene)}"), mean


def _picked(run: CommandRun, scene: Scene) -> str:
    """What most of the pixels of a run's masks belong to."""
    covered = np.zeros(len(scene.objects) + 1, int)
    for number in run.answers:
        labels = scene.segmentation[number][run.mask_in(number)]
        covered += np.bincount(labels, minlength=len(covered))
    if not covered.any():
        return "nothing"
    picked = int(covered.argmax())
    if picked == 0:
        return "background"
    return "poor mask" if picked == run.command.target else scene.objects[picked - 1]


def _unjudged(run: CommandRun) -> tuple[str, float | None]:
    """In how many of the answered frames the object was seen, and its mean score there."""
    objects = [run.object_in(number) for number in run.answers]
    scores = [entry.score for entry in objects if entry.state == ReferredObject.TRACKING]
    mean = float(np.mean(scores)) if scores else None
    return f"{len(scores)} of {len(objects)} frames", mean


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."
