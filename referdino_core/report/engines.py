# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What ran: model, runtime, rate and memory of runs, from their summaries and measured times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from referdino_core.replay.run_folder import RunFolder
from referdino_core.report import formatting
from referdino_core.report.formatting import NOTHING, Durations

MEMORY = {
    "resident": "memory of the process",
    "gpu": "memory on the GPU",
    "state": "memory of the stream",
}
"""Kinds of memory in timing.jsonl, and their names in tables."""


@dataclass
class MemoryUse:
    """Bytes in use over a run: after the first image, at most, and after the last."""

    first: int
    peak: int
    last: int

    def add(self, used: int) -> None:
        """Count the use after the next image."""
        self.peak, self.last = max(self.peak, used), used


def count_memory(uses: dict[str, MemoryUse], used: Mapping[str, int]) -> None:
    """Add one line of timing.jsonl to the uses by kind."""
    for kind, amount in used.items():
        if kind in uses:
            uses[kind].add(amount)
        else:
            uses[kind] = MemoryUse(amount, amount, amount)


def memory_rows(uses: Mapping[str, MemoryUse]) -> list[tuple[str, list[int]]]:
    """Name and bytes (first, peak, last) of every kind of memory that was measured."""
    return [
        (name, [uses[kind].first, uses[kind].peak, uses[kind].last])
        for kind, name in MEMORY.items()
        if kind in uses
    ]


@dataclass
class EngineUse:
    """One side of a comparison: an engine and what it used, over one or many runs.

    Attributes:
        summaries: of the runs.
        inference: seconds per image. seconds: their sum.
        memory: by kind; of many runs the highest peak.
    """

    summaries: list[Mapping[str, Any]] = field(default_factory=list)
    inference: Durations = field(default_factory=Durations)
    seconds: float = 0.0
    memory: dict[str, MemoryUse] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the model, with that of its networks if they have names of their own."""
        return self._of(lambda summary: _model_name(summary["model"]))

    @property
    def runtime(self) -> str:
        """Runtime, precision and device."""
        return self._of(lambda summary: f"{summary['runtime']} on {summary['device']}")

    @property
    def rate(self) -> float | None:
        """Images per second of inference; None without measured times."""
        return self.inference.count / self.seconds if self.seconds else None

    def _of(self, text: Any) -> str:
        return ", ".join(dict.fromkeys(text(summary) for summary in self.summaries))


def engine_use(runs: Sequence[RunFolder]) -> EngineUse:
    """The engine of runs, and what it used.

    Raises:
        SourceError: measured times are damaged.
    """
    use = EngineUse([run.summary for run in runs])
    for run in runs:
        for entry in run.timing():
            seconds = entry["seconds"].get("infer")
            if seconds is not None:
                use.inference.add(seconds)
                use.seconds += seconds
            count_memory(use.memory, entry.get("memory", {}))
    return use


def engine_rows(first: EngineUse, second: EngineUse) -> list[tuple[str, str, str]]:
    """Name and value on both sides of what is known of either engine."""
    rows = [
        ("model", first.name, second.name),
        ("runs in", first.runtime, second.runtime),
        ("inference of an image, median", _median(first), _median(second)),
        ("images per second", _rate(first), _rate(second)),
    ]
    for kind, name in MEMORY.items():
        rows.append((f"{name}, peak", _peak(first, kind), _peak(second, kind)))
    return [row for row in rows if any(value != NOTHING for value in row[1:])]


def _model_name(model: Mapping[str, Any]) -> str:
    networks = model.get("networks")
    return f"{model['name']} ({networks})" if networks else str(model["name"])


def _median(side: EngineUse) -> str:
    return formatting.milliseconds(side.inference.percentile(0.5))


def _rate(side: EngineUse) -> str:
    return NOTHING if side.rate is None else f"{side.rate:.3g}"


def _peak(side: EngineUse, kind: str) -> str:
    return formatting.megabytes(side.memory[kind].peak if kind in side.memory else None)
