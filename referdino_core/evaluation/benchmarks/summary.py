# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Summary of benchmark runs: as JSON, and as a table with both inference modes side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from referdino_core.evaluation.benchmarks import STREAM, WHOLE_CLIP
from referdino_core.evaluation.benchmarks.protocols import Protocol
from referdino_core.evaluation.benchmarks.running import BenchmarkRun

FORMAT = 1

_ROWS = (
    ("J&F", ("region_and_boundary",)),
    ("J", ("region", "mean")),
    ("F", ("boundary", "mean")),
    ("J recall", ("region", "recall")),
    ("F recall", ("boundary", "recall")),
    ("J decay", ("region", "decay")),
    ("F decay", ("boundary", "decay")),
    ("J&F, objects as named", ("named", "region_and_boundary")),
    ("mAP 0.5:0.95, all candidates", ("mean_average_precision_of_all",)),
    ("mAP 0.5:0.95, best candidate", ("mean_average_precision",)),
    ("overall IoU", ("overall_iou",)),
    ("mean IoU", ("mean_iou",)),
    *(
        (f"precision at {threshold}", ("precision", threshold))
        for threshold in ("0.5", "0.6", "0.7", "0.8", "0.9")
    ),
)

COUNTS = (
    ("clips processed", "clips"),
    ("clips scored", "clips_scored"),
    ("clips skipped", "clips_passed_over"),
    ("expressions processed", "expressions"),
    ("expressions scored", "expressions_scored"),
    ("expressions skipped", "expressions_passed_over"),
    ("frames of the clips", "frames"),
    ("unreadable frames", "frames_unread"),
    ("frames scored", "frames_scored"),
    ("unreadable frames scored as empty", "frames_scored_unread"),
)


def summarise_run(run: BenchmarkRun, protocol: Protocol) -> dict[str, Any]:
    """The summary of a run, JSON-serializable.

    Returns:
        "complete": whether all questions were processed; numbers: of processed "clips" and
        "expressions", and of "frames" of those clips, each also as "…_scored"; "frames_unread" and
        "frames_scored_unread" (as empty predictions); skipped "clips_passed_over" (or whole videos)
        and "expressions_passed_over" (of other clips); "problems", a line each; "scores": the
        protocol's total, or None.
    """
    clips: dict[str, dict[str, int]] = {}
    expressions = expressions_scored = 0
    for record in run.records():
        evaluated = set(record.judged if record.scores else ())
        counts = clips.setdefault(record.clip, dict.fromkeys(("scored", "empty"), 0))
        counts |= {"frames": len(record.frames), "unread": len(record.unread)}
        counts["scored"] = max(counts["scored"], len(evaluated))
        counts["empty"] = max(counts["empty"], len(evaluated & set(record.unread)))
        expressions += record.expressions
        expressions_scored += record.expressions if evaluated else 0

    def total(name: str) -> int:
        return sum(counts[name] for counts in clips.values())

    return {
        "complete": run.outcome.complete,
        "clips": len(clips),
        "clips_scored": sum(counts["scored"] > 0 for counts in clips.values()),
        "expressions": expressions,
        "expressions_scored": expressions_scored,
        "frames": total("frames"),
        "frames_unread": total("unread"),
        "frames_scored": total("scored"),
        "frames_scored_unread": total("empty"),
        "clips_passed_over": run.outcome.clips_skipped,
        "expressions_passed_over": run.outcome.expressions_skipped,
        "problems": run.outcome.problems,
        "scores": protocol.total(run.records()),
    }


def table(title: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores as a Markdown table in per cent, with a column per inference mode.

    If both modes were run, a last column gives the price of causality: whole clip minus stream.
    """
    both = {WHOLE_CLIP, STREAM} <= set(runs)
    head = [title, *runs, *(["price of causality"] if both else [])]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for label, path in _ROWS:
        values = {name: _value(run["scores"], path) for name, run in runs.items()}
        if all(value is None for value in values.values()):
            continue
        cells = ["" if value is None else f"{100 * value:.1f}" for value in values.values()]
        if both:
            whole, streamed = values[WHOLE_CLIP], values[STREAM]
            gap = "" if whole is None or streamed is None else f"{100 * (whole - streamed):+.1f}"
            cells.append(gap)
        rows.append([label, *cells])
    if len(rows) == 2:
        rows.append(["scores", *["none here"] * (len(head) - 1)])
    for label, key in COUNTS:
        rows.append([label, *(str(run[key]) for run in runs.values()), *([""] if both else [])])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _value(scores: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        scores = scores.get(key) if isinstance(scores, dict) else None
    return scores
