# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sentences that are given one after the other while a clip runs, each true while it is given."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from referdino_core.world.clip import Clip, Expression
from referdino_core.world.expressions import enumerate_expressions
from referdino_core.world.observation import VISIBLE_AREA, Observation
from referdino_core.world.settings import WorldSettings

_KINDS_BY_PART = (("attribute",), ("relation",), ("direction", "motion"), ("location",))
"""A part of the scene for each, with the preferred kind of sentence first."""
_VAGUE_NOUNS = ("object", "thing", "one")
_GOOD_LENGTH = 5  # words


@dataclass(frozen=True)
class TimedCommand:
    """A sentence and when it is given.

    Attributes:
        text: the sentence.
        begins: seconds of the material.
        target: number of the object that it means, from 1; None where the ground truth is not
            known.
    """

    text: str
    begins: float
    target: int | None = None


def spread_evenly(texts: Sequence[str], seconds: float) -> tuple[TimedCommand, ...]:
    """Each text for an equal part of the time; what they mean is not known."""
    return tuple(
        TimedCommand(text, place * seconds / len(texts)) for place, text in enumerate(texts)
    )


def choose_commands(clip: Clip, settings: WorldSettings) -> tuple[TimedCommand, ...]:
    """A sentence of each sort in turn, true of one object while it is given.

    The object is visible in every frame of that part of the clip. Of each sort, sentences with
    plain nouns go first, then objects that were not meant before, then what needs the most
    looking: where several objects fit the words for colour and shape. A command is given half a
    frame before the first frame that it is for.
    """
    commands: list[TimedCommand] = []
    for place, frames in enumerate(np.array_split(np.arange(len(clip.frames)), 4)):
        if not len(frames):
            continue
        options = _expressions_during(clip, settings, frames)
        if not options:
            continue
        met = {command.target for command in commands}
        kinds = _KINDS_BY_PART[place]
        best = max(options, key=lambda option: _merit(option, kinds, met, clip))
        begins = (frames[0] - 0.5) / settings.frame_rate if commands else 0.0
        commands.append(TimedCommand(best.text, float(begins), best.target))
    return tuple(commands)


def _expressions_during(
    clip: Clip, settings: WorldSettings, frames: np.ndarray
) -> list[Expression]:
    """What is true of one object during these frames, all of which show it."""
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
    expression: Expression, kinds: Sequence[str], met: Collection[int | None], clip: Clip
) -> tuple:
    assert expression.target is not None
    words = expression.text.split()
    wanted = expression.kind in kinds
    return (
        wanted,
        -kinds.index(expression.kind) if wanted else 0,
        expression.kind == "motion" and clip.objects[expression.target - 1].moving,
        not any(noun in words for noun in _VAGUE_NOUNS),
        expression.target not in met,
        len(expression.candidates),
        -abs(len(words) - _GOOD_LENGTH),
        expression.text,
    )
