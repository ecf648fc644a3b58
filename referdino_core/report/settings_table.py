# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What was run, as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from referdino_core.report import figures_in_words as words

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
