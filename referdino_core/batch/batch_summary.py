# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The summary of a batch: totals over its recordings, in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from referdino_core.batch.outcomes import RunOutcome
from referdino_core.evaluation.davis import SequenceStatistics
from referdino_core.evaluation.stream_scores import CommandScores, overall_scores
from referdino_core.evaluation.tracking_measures import TrackingScores
from referdino_core.replay.run_folder import RunFolder
from referdino_core.replay.run_summary import referdino_version

FORMAT = 1
_COMMON = ("model", "runtime", "device", "window", "settings", "clock", "commit", "versions")


def summarise(folder: Path, outcomes: Sequence[RunOutcome]) -> dict[str, Any]:
    """The summary of a batch; says nothing of wall-clock time.

    Args:
        folder: with the runs.
        outcomes: of all recordings, in their order.

    Raises:
        SourceError: a run that was complete is none any more.
    """
    done = [outcome for outcome in outcomes if outcome.failure is None]
    common: dict[str, Any] = {}
    commands: list[CommandScores] = []
    streaming: list[CommandScores] = []
    judged = False
    for outcome in done:
        summary = RunFolder(folder / outcome.name).summary
        common = common or {name: summary[name] for name in _COMMON}
        if summary["scores"] is not None:
            judged = True
            commands += map(_command_scores, summary["scores"]["commands"])
            streamed = summary["scores"].get("streaming") or {"commands": ()}
            streaming += map(_command_scores, streamed["commands"])
    return {
        "format": FORMAT,
        "kind": "runs",
        "referdino": referdino_version(),
        **common,
        "recordings": len(outcomes),
        "done": len(done),
        "failed": [
            {"name": outcome.name, "source": outcome.source, "reason": outcome.failure}
            for outcome in outcomes
            if outcome.failure is not None
        ],
        "with_problems": sum(bool(outcome.problems) for outcome in done),
        "frames": _sums(outcome.frames for outcome in done if outcome.frames is not None),
        "seconds": sum(outcome.seconds or 0.0 for outcome in done),
        "commands_scored": len(commands),
        "scores": asdict(overall_scores(commands)) if judged else None,
        "streaming": asdict(overall_scores(streaming)) if streaming else None,
        "runs": [outcome.line() for outcome in outcomes],
    }


def _command_scores(entry: Mapping[str, Any]) -> CommandScores:
    known = {one.name for one in fields(CommandScores)}
    values = {name: value for name, value in entry.items() if name in known}
    for name in ("region", "boundary"):
        if values[name] is not None:
            values[name] = SequenceStatistics(**values[name])
    if values.get("tracking") is not None:
        values["tracking"] = TrackingScores(**values["tracking"])
    return CommandScores(**values)


def _sums(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total = Counter({"read": 0, "answered": 0, "dropped": 0, "late": 0, "failed": 0})
    for one in counts:
        total.update(one)
    return dict(total)
