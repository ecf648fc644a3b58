# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Commands for successive parts of a clip, each valid during its part."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from referdino_core.world.clip import Clip, Expression
from referdino_core.world.expressions import enumerate_expressions
from referdino_core.world.observation import VISIBLE_AREA, Observation
from referdino_core.world.settings import WorldSettings

_KINDS_BY_PART = (("attribute",), ("relation",), ("direction", "motion"), ("location",))
"""Kinds of sentences for each part of the scene, the preferred one first."""
_VAGUE_NOUNS = ("object", "thing", "one")
_GOOD_LENGTH = 5  # words


@dataclass(frozen=True)
class TimedCommand:
    """A sentence and the time at which it is given.

    Attributes:
        text: the sentence.
        begins: seconds from the start of the clip.
        target: number of the object that it refers to, from 1; None without ground truth.
    """

    text: str
    begins: float
    target: int | None = None


def spread_evenly(texts: Sequence[str], seconds: float) -> tuple[TimedCommand, ...]:
    """Commands that are active for equal parts of the time, without ground truth."""
    return tuple(
        TimedCommand(text, index * seconds / len(texts)) for index, text in enumerate(texts)
    )


def choose_commands(clip: Clip, settings: WorldSettings) -> tuple[TimedCommand, ...]:
    """One command per part of the clip, each of another kind and with a unique target.

    The target is visible in every frame of the part. Preferred are sentences with concrete nouns,
    then objects that were not a target before, then sentences that are hard to resolve because
    several objects fit the words for colour and shape. A command is given half a frame before the
    first frame of its part.
    """
    commands: list[TimedCommand] = []
    for part, frames in enumerate(np.array_split(np.arange(len(clip.frames)), 4)):
        if not len(frames):
            continue
        options = _expressions_during(clip, settings, frames)
        if not options:
            continue
        used = {command.target for command in commands}
        kinds = _KINDS_BY_PART[part]
        best = max(options, key=lambda option: _merit(option, kinds, used, clip))
        begins = (frames[0] - 0.5) / settings.frame_rate if commands else 0.0
        commands.append(TimedCommand(best.text, float(begins), best.target))
    return tuple(commands)


def _expressions_during(
    clip: Clip, settings: WorldSettings, frames: np.ndarray
) -> list[Expression]:
    """Expressions with a unique target during these frames, which is visible in all of them."""
    part = slice(frames[0], frames[-1] + 1)
    objects = tuple(
        replace(
            thing,
            positions=thing.positions[part],
            image_positions=thing.image_positions[part],
            distances=thing.distances[part],
            areas=thing.areas[part],
        )
        for thing in clip.objects
    )
    observation = Observation(objects, replace(settings, frames=len(frames)), clip.camera_moves)
    wording = np.random.default_rng([clip.index, int(frames[0])])
    smallest = VISIBLE_AREA * settings.pixel_scale**2
    return [
        expression
        for expression in enumerate_expressions(wording, observation)
        if expression.target is not None and objects[expression.target - 1].areas.min() >= smallest
    ]


def _merit(
    expression: Expression, kinds: Sequence[str], used: Collection[int | None], clip: Clip
) -> tuple:
    assert expression.target is not None
    words = expression.text.split()
    wanted = expression.kind in kinds
    return (
        wanted,
        -kinds.index(expression.kind) if wanted else 0,
        expression.kind == "motion" and clip.objects[expression.target - 1].moving,
        not any(noun in words for noun in _VAGUE_NOUNS),
        expression.target not in used,
        len(expression.candidates),
        -abs(len(words) - _GOOD_LENGTH),
        expression.text,
    )
