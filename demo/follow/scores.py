# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of the instructions against the ground truth, and their table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demo.follow.recording import Moment
from demo.follow.script import Chapter, Expected, Line
from referdino_core.follow_evaluation.perception import VISIBLE_PIXELS
from referdino_core.follow_evaluation.running import BEARING_TOLERANCE, DISTANCE_TOLERANCE
from referdino_core.following import Instruction, parse

STILL = 0.02
"""Metres that a robot that stands still may roll."""
_DRIVES = 0.2
"""Metres of a robot that drives."""
_TIME_OUT_WAY = 0.25
"""Metres that a base may roll until it stops by itself: half a second at 0.3 m/s, and braking."""
_NOTHING = "–"


@dataclass(frozen=True)
class Said:
    """An instruction that was given.

    Attributes:
        understood: what the follower said that it understood.
        begins, ends: seconds of the robot's time.
        target: index of the body that is meant; None for none.
        distance: metres that are to be kept.
        moments: the images of that time.
        statuses: of the follower, `referdino/FollowStatus`.
        state: what it said in the end that it does, and why.
    """

    chapter: Chapter
    line: Line
    understood: str
    begins: float
    ends: float
    target: int | None
    distance: float
    moments: Sequence[Moment]
    statuses: Sequence[Any]
    state: str

    @property
    def names_object(self) -> bool:
        """Whether the instruction is about an object."""
        instruction = parse(self.line.text)
        return isinstance(instruction, Instruction) and instruction.intent.wants_object


@dataclass(frozen=True)
class Score:
    """Score of an instruction.

    Attributes:
        right: fraction of the masks that show the object that is meant; None without a mask, or
            where nothing is meant. shown: what most masks show; "" without a mask.
        reached: seconds until the distance was kept, facing the object; None where it never was.
        at_place: whether it is kept in the end.
        final_distance, final_bearing: metres and degrees of the object meant, in the end.
        in_view: fraction of the images that show it.
        blind: metres, longest way driven since an image in which anything was seen.
        collisions: things run into.
        way: metres driven.
        succeeded: whether what was expected has come.
    """

    right: float | None
    shown: str
    reached: float | None
    at_place: bool
    final_distance: float | None
    final_bearing: float | None
    in_view: float | None
    blind: float
    collisions: int
    way: float
    succeeded: bool


def score(said: Said) -> Score:
    """The score of an instruction."""
    truths = [moment.truth for moment in said.moments]
    way = truths[-1]["way"] - truths[0]["way"]
    shown = _shown(said)
    right = None
    if said.target is not None and shown.total():
        right = shown[said.target + 1] / shown.total()
    looks = [body["look"] for body in truths[-1]["bodies"]]
    most = shown.most_common(1)[0][0] if shown.total() else None
    name = "" if most is None else ("background" if most == 0 else looks[most - 1])
    fits = [_is_at_place(said, truth) for truth in truths]
    reached = next(
        (truths[place]["stamp"] - said.begins for place in range(len(fits)) if fits[place]), None
    )
    collisions = len(
        set(map(str, truths[-1]["collisions"])) - set(map(str, truths[0]["collisions"]))
    )
    final = None if said.target is None else truths[-1]["bodies"][said.target]
    at_place = bool(fits[-1])
    if said.line.expected is Expected.REACHES:
        good = at_place and not collisions and (right or 0.0) > 0.5
    elif said.line.expected is Expected.DRIVES:
        good = way > _DRIVES and not collisions and (right or 0.0) > 0.5
    elif said.line.expected is Expected.STANDS:
        good = way <= _braking_way(truths) + STILL
    elif said.line.expected is Expected.OPEN:
        good = not collisions
    else:
        good = truths[-1]["speed"] == 0.0 and way <= _TIME_OUT_WAY
    return Score(
        right,
        name,
        reached,
        at_place,
        None if final is None else final["distance"],
        None if final is None else math.degrees(final["bearing"]),
        _in_view(said),
        _blind(said),
        collisions,
        way,
        good,
    )


def _braking_way(truths: Sequence[dict[str, Any]]) -> float:
    """Metres that the base rolls on from its speed at the start, after a result's delay."""
    speed = abs(truths[0]["speed"])
    return speed * 0.3 + speed * speed / 2.0


def _is_at_place(said: Said, truth: dict[str, Any]) -> bool:
    if said.target is None:
        return False
    body = truth["bodies"][said.target]
    near = abs(body["distance"] - said.distance) <= DISTANCE_TOLERANCE
    return near and abs(body["bearing"]) <= BEARING_TOLERANCE


def _shown(said: Said) -> Counter[int]:
    """What the masks show: labels, with the number of images in which most of a mask is of them."""
    shown: Counter[int] = Counter()
    for moment in said.moments:
        if moment.labels is None:
            continue
        for target in moment.targets or ():
            if target.mask.any():
                counts = np.bincount(moment.labels[target.mask])
                shown[int(counts.argmax())] += 1
    return shown


def _in_view(said: Said) -> float | None:
    labels = [moment.labels for moment in said.moments if moment.labels is not None]
    if said.target is None or not labels:
        return None
    return float(np.mean([(one == said.target + 1).sum() >= VISIBLE_PIXELS for one in labels]))


def _blind(said: Said) -> float:
    seen = longest = said.moments[0].truth["way"]
    longest = 0.0
    for moment in said.moments:
        way = moment.truth["way"]
        if any(target.mask.any() for target in moment.targets or ()):
            seen = way
        longest = max(longest, way - seen)
    return longest


def table(spoken: Sequence[Said], scores: Sequence[Score]) -> str:
    """A heading and a line for each instruction; below it, what was understood and said."""
    heading = (
        *("instruction", "as expected", "object seen", "reached", "distance", "bearing"),
        *("in view", "blind", "collisions", "driven"),
    )
    rows = [heading, *(_row(said, one) for said, one in zip(spoken, scores, strict=True))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    told = [f"    understood: {said.understood} | in the end: {said.state}" for said in spoken]
    return "\n".join(
        [lines[0], *(f"{one}\n{more}" for one, more in zip(lines[1:], told, strict=True))]
    )


def _row(said: Said, one: Score) -> tuple[str, ...]:
    object_seen = one.shown or "nothing"
    if one.right is not None:
        object_seen = f"right {one.right:.0%}" if one.right > 0.5 else f"wrong: {one.shown}"
    elif not said.names_object:
        object_seen = _NOTHING
    return (
        said.line.text,
        f"{'yes' if one.succeeded else 'NO'}: {said.line.expected.value}",
        object_seen,
        _NOTHING if one.reached is None else f"{one.reached:.1f} s",
        _NOTHING if one.final_distance is None else f"{one.final_distance:.2f} m",
        _NOTHING if one.final_bearing is None else f"{one.final_bearing:+.0f}°",
        _NOTHING if one.in_view is None else f"{one.in_view:.0%}",
        f"{one.blind:.2f} m",
        str(one.collisions),
        f"{one.way:.2f} m",
    )
