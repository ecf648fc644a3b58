# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a demo plays and which commands it gives when: the user's own material or a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from referdino_core.media.sources import open_source
from referdino_core.world import Expression
from referdino_ros.demo.errors import DemoError
from referdino_ros.demo.scene import Scene

SECONDS_OF_A_CAMERA = 20.0
_KINDS_IN_ORDER = (("attribute",), ("relation",), ("motion", "direction"), ("location",))
_VAGUE_NOUNS = ("object", "thing", "one")


@dataclass(frozen=True)
class TimedCommand:
    """A sentence and when it is given.

    Attributes:
        text: the sentence.
        begins: seconds of the material.
        target: number of the object that it means, from 1; None where the truth is not known.
    """

    text: str
    begins: float
    target: int | None = None


@dataclass(frozen=True)
class Material:
    """What the camera plays, and the commands that run meanwhile, one after the other.

    Attributes:
        source: as `open_source` takes it.
        frame_rate: frames per second.
        seconds: how long it is played.
        endless: whether it cannot be read a second time.
        commands: in order; the first begins at 0.
        scene: the truth, where it is known.
    """

    source: str
    frame_rate: float
    seconds: float
    endless: bool
    commands: tuple[TimedCommand, ...]
    scene: Scene | None = None


def own_material(
    source: str, texts: Sequence[str], seconds: float | None, frame_rate: float | None
) -> Material:
    """The user's video, image folder or camera; each text runs for an equal part of it.

    Raises:
        SourceError: the source cannot be opened.
        DemoError: there is no text.
    """
    if not texts:
        raise DemoError("There is nothing to find: give --text (with make: TEXT=) as well.")
    with open_source(source, frame_rate) as opened:
        rate, count = opened.frame_rate, opened.frame_count
    endless = count is None
    length = SECONDS_OF_A_CAMERA if count is None else count / rate
    if seconds is not None:
        length = seconds if endless else min(seconds, length)
    return Material(source, rate, length, endless, _evenly(texts, length, ()))


def scene_material(scene: Scene, texts: Sequence[str]) -> Material:
    """A scene, with the given texts or else with sentences that are true of it.

    Raises:
        DemoError: no object of the scene can be seen for long enough.
    """
    chosen = _evenly(texts, scene.seconds, scene.expressions) if texts else choose_commands(scene)
    if not chosen:
        raise DemoError("No object of this scene stays in view; choose another --seed.")
    return Material(str(scene.video), scene.frame_rate, scene.seconds, False, chosen, scene)


def choose_commands(scene: Scene) -> tuple[TimedCommand, ...]:
    """A sentence of each sort in turn, about an object that is visible all the while.

    Of each sort, sentences with plain nouns go first, then objects that were not meant before, then
    what needs the most looking: where several objects fit the words for colour and shape.
    """
    areas = scene.areas()
    spans = np.array_split(np.arange(areas.shape[1]), len(_KINDS_IN_ORDER))
    chosen: list[Expression] = []
    commands: list[TimedCommand] = []
    for kinds, span in zip(_KINDS_IN_ORDER, spans, strict=True):
        options = [
            expression
            for expression in scene.expressions
            if expression.target is not None
            and expression not in chosen
            and len(span)
            and areas[expression.target - 1, span].min() >= scene.visible_area
        ]
        if not options:
            continue
        met = {expression.target for expression in chosen}
        best = max(options, key=lambda expression: _merit(expression, kinds, met))
        begins = span[0] / scene.frame_rate if commands else 0.0
        chosen.append(best)
        commands.append(TimedCommand(best.text, float(begins), best.target))
    return tuple(commands)


def _merit(expression: Expression, kinds: Sequence[str], met: set[int | None]) -> tuple:
    words = expression.text.split()
    return (
        expression.kind in kinds,
        not any(noun in words for noun in _VAGUE_NOUNS),
        expression.target not in met,
        len(expression.candidates),
        -abs(len(words) - 5),
        expression.text,
    )


def _evenly(
    texts: Sequence[str], seconds: float, expressions: Sequence[Expression]
) -> tuple[TimedCommand, ...]:
    targets = {expression.text: expression.target for expression in expressions}
    return tuple(
        TimedCommand(text, place * seconds / len(texts), targets.get(text))
        for place, text in enumerate(texts)
    )
