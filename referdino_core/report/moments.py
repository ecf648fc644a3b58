# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Choosing the moments of a run that are worth a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from referdino_core.report.timeline import Moment

LEAST_DISTANCE = 1.0  # seconds between two moments of the same command
MOST_MOMENTS = 6


@dataclass(frozen=True)
class CommandMoment:
    """A moment of the command with this key."""

    key: str
    sentence: str
    moment: Moment


def choose(
    candidates: Iterable[CommandMoment],
    badness: Callable[[CommandMoment], float],
    most: int = MOST_MOMENTS,
) -> list[CommandMoment]:
    """The first moments by `badness`, lowest first, some from every command and kind of failure.

    Moments of one command are at least LEAST_DISTANCE seconds apart. Commands and kinds of failure
    take turns, so that one long failure does not fill the page with itself.
    """
    groups: dict[tuple[str, str], list[CommandMoment]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.key, candidate.moment.failure), []).append(candidate)
    for group in groups.values():
        group.sort(key=lambda found: (badness(found), found.moment.position))
    ordered = sorted(groups.values(), key=lambda group: badness(group[0]))
    chosen: list[CommandMoment] = []
    for row in zip_longest(*(_apart(group, most) for group in ordered)):
        for candidate in row:
            if candidate and len(chosen) < most and _is_apart(candidate, chosen):
                chosen.append(candidate)
    return sorted(chosen, key=badness)


def _apart(group: Sequence[CommandMoment], most: int) -> list[CommandMoment]:
    chosen: list[CommandMoment] = []
    for candidate in group:
        if len(chosen) == most:
            break
        if _is_apart(candidate, chosen):
            chosen.append(candidate)
    return chosen


def _is_apart(candidate: CommandMoment, others: Iterable[CommandMoment]) -> bool:
    return all(
        other.key != candidate.key
        or abs(other.moment.seconds - candidate.moment.seconds) >= LEAST_DISTANCE
        for other in others
    )
