# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Formatting of numbers and settings for reports, and percentiles of durations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NOTHING = "–"
NEVER = "never"  # an infinite time or distance


def ratio(value: float | None) -> str:
    """A value from 0 to 1 with three digits."""
    return NOTHING if value is None else f"{value:.3f}"


def signed_ratio(value: float | None) -> str:
    """A value that may be below 0, with three digits and a minus sign."""
    return ratio(value).replace("-", "−")


def percentage(value: float | None) -> str:
    """A value from 0 to 1 as a percentage."""
    return NOTHING if value is None else f"{100 * value:.0f} %"


def seconds(value: float | None) -> str:
    """Seconds with two digits; "never" for infinity."""
    return NOTHING if value is None else NEVER if math.isinf(value) else f"{value:.2f} s"


def milliseconds(value: float | None) -> str:
    """Seconds, formatted as milliseconds."""
    if value is None:
        return NOTHING
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{1000 * value:.0f} ms"


def pixels(value: float | None) -> str:
    """Pixels with one digit; "never" for infinity."""
    return NOTHING if value is None else NEVER if math.isinf(value) else f"{value:.1f} px"


def megabytes(value: float | None) -> str:
    """Bytes, formatted as megabytes."""
    if value is None:
        return NOTHING
    return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value / 1e6:.2f} MB"


def count(value: float | None) -> str:
    """A whole number."""
    return NOTHING if value is None else f"{value:,.0f}"


def yes_or_no(value: bool | None) -> str:
    """A boolean as "yes" or "no"."""
    return NOTHING if value is None else ("yes" if value else "no")


def plain(value: Any) -> str:
    """Any value of a summary."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return yes_or_no(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(entry) for entry in value) or NOTHING
    return str(value)


def flat(entries: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings flattened to one level, with readable keys and values."""
    rows: dict[str, str] = {}
    for key, value in entries.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping) and value:
            rows |= flat(value, f"{name}: ")
        else:
            rows[name] = plain(value)
    return rows


_OWN_TABLES = ("format", "commands", "frames", "problems", "scores", "delay")


def settings_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """All settings of a run: source, model, checkpoint, thresholds, versions."""
    return flat({key: value for key, value in summary.items() if key not in _OWN_TABLES})


def changed_settings(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """Settings that differ between two runs: name, value in the first, value in the second."""
    before, after = (_comparable(summary) for summary in (first, second))
    names = dict.fromkeys([*before, *after])
    return [
        (name, before.get(name, NOTHING), after.get(name, NOTHING))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _comparable(summary: Mapping[str, Any]) -> dict[str, str]:
    settings = settings_of(summary)
    for command in summary["commands"]:
        name = f"command {command['id']}"
        settings[name] = command["text"]
        settings[f"{name}: at"] = seconds(command["at"])
        settings[f"{name}: until"] = seconds(command["until"])
        settings[f"{name}: objects"] = plain(command["objects"])
    return settings


QUANTILES = (0.5, 0.9, 0.95, 0.99)

_SHORTEST = 1e-6  # seconds; shorter ones count as this
_STEP = math.log(1.01)  # classes 1 % apart


@dataclass
class Durations:
    """A histogram of durations with logarithmic bins, in constant memory.

    Percentiles are accurate to 1 %, the maximum is exact.
    """

    count: int = 0
    worst: float = 0.0
    _classes: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one duration, in seconds of at least 0."""
        self.count += 1
        self.worst = max(self.worst, seconds)
        place = round(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _STEP)
        self._classes[place] = self._classes.get(place, 0) + 1

    def percentile(self, fraction: float) -> float | None:
        """The duration that a fraction (0…1) of all do not exceed; None if there are none."""
        wanted = fraction * self.count
        seen = 0
        for place in sorted(self._classes):
            seen += self._classes[place]
            if seen >= wanted:
                return min(_SHORTEST * math.exp(place * _STEP), self.worst)
        return None
