# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Source and commands of a demo: the user's own, or those of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demo import DemoError
from referdino_core.evaluation.recorded_scene import IMAGE_SIZE, Scene
from referdino_core.media.sources import open_source
from referdino_core.world.timed_commands import TimedCommand, spread_evenly

SECONDS_OF_A_CAMERA = 20.0


@dataclass(frozen=True)
class Material:
    """The camera's source, and the sequence of commands.

    Attributes:
        source: as `open_source` takes it.
        pace: frame rate that overrides the source's own, or None.
        limit: seconds after which the camera stops; None for the end of the source.
        endless: whether it is a live source, which cannot be read again.
        frame_rate: frames per second.
        seconds: duration.
        commands: in order; the first begins at 0.
        image_size: width x height in pixels, such as "640x480".
        scene: the ground truth; None if unknown.
    """

    source: str
    pace: float | None
    limit: float | None
    endless: bool
    frame_rate: float
    seconds: float
    commands: tuple[TimedCommand, ...]
    image_size: str
    scene: Scene | None = None


def own_material(
    source: str, texts: Sequence[str], limit: float | None, pace: float | None
) -> Material:
    """The user's video, image folder or camera; each text is active for an equal part of it.

    Raises:
        SourceError: the source cannot be opened.
        DemoError: there is no text.
    """
    if not texts:
        raise DemoError("There is nothing to find: give --text (with make: TEXT=) as well.")
    with open_source(source, pace) as opened:
        frame_rate, count = opened.frame_rate, opened.frame_count
        height, width = next(iter(opened)).image.shape[:2]
    if count is None:
        limit = SECONDS_OF_A_CAMERA if limit is None else limit
        seconds = limit
    else:
        seconds = count / frame_rate if limit is None else min(limit, count / frame_rate)
    commands = spread_evenly(texts, seconds)
    return Material(
        source, pace, limit, count is None, frame_rate, seconds, commands, f"{width}x{height}"
    )


def scene_material(scene: Scene, texts: Sequence[str]) -> Material:
    """A scene, with its own commands, or with given texts, whose ground truth is unknown.

    Raises:
        DemoError: no object of the scene is visible for long enough to have commands.
    """
    commands = spread_evenly(texts, scene.seconds) if texts else scene.commands
    if not commands:
        raise DemoError("No object of this scene stays in view; choose another --seed.")
    rate, seconds = scene.frame_rate, scene.seconds
    truth = None if texts else scene
    return Material(
        str(scene.video), rate, seconds, False, rate, seconds, commands, IMAGE_SIZE, truth
    )
