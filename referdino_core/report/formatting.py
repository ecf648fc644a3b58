# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers and settings as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from referdino_core.report import formatting as words

NOTHING = "–"
NEVER = "never"  # an infinite time or distance


def ratio(value: float | None) -> str:
    """A value from 0 to 1 with three digits."""
    return NOTHING if value is None else f"{value:.3f}"


def signed_ratio(value: float | None) -> str:
    """A value that may be below 0, with three digits and a minus sign."""
    return ratio(value).replace("-", "−")


def share(value: float | None) -> str:
    """A value from 0 to 1 as a percentage."""
    return NOTHING if value is None else f"{100 * value:.0f} %"


def seconds(value: float | None) -> str:
    """Seconds with two digits; infinity is never."""
    return NOTHING if value is None else NEVER if math.isinf(value) else f"{value:.2f} s"


def milliseconds(value: float | None) -> str:
    """Seconds, told in milliseconds."""
    if value is None:
        return NOTHING
    return f"{1000 * value:.1f} ms" if value < 0.1 else f"{1000 * value:.0f} ms"


def pixels(value: float | None) -> str:
    """Pixels with one digit; infinity is never."""
    return NOTHING if value is None else NEVER if math.isinf(value) else f"{value:.1f} px"


def count(value: float | None) -> str:
    """A whole number."""
    return NOTHING if value is None else f"{value:,.0f}"


def yes_or_no(value: bool | None) -> str:
    """A truth value."""
    return NOTHING if value is None else ("yes" if value else "no")


def plain(value: Any) -> str:
    """Whatever a summary holds."""
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
    """Nested settings as one level, with readable keys and values."""
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
    """Everything that a run depended on: source, model, checkpoint, thresholds, versions."""
    return words.flat({key: value for key, value in summary.items() if key not in _OWN_TABLES})


def changed_settings(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> list[tuple[str, str, str]]:
    """Settings that differ between two runs: name, value in the first, value in the second."""
    before, after = (_comparable(summary) for summary in (first, second))
    names = dict.fromkeys([*before, *after])
    return [
        (name, before.get(name, words.NOTHING), after.get(name, words.NOTHING))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _comparable(summary: Mapping[str, Any]) -> dict[str, str]:
    settings = settings_of(summary)
    for command in summary["commands"]:
        name = f"command {command['id']}"
        settings[name] = command["text"]
        settings[f"{name}: at"] = words.seconds(command["at"])
        settings[f"{name}: until"] = words.seconds(command["until"])
        settings[f"{name}: objects"] = words.plain(command["objects"])
    return settings
