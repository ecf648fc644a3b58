# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a demo plays and which commands it gives when: the user's own material or a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from referdino_core.media.sources import open_source
from referdino_ros.demo.commands import TimedCommand, spread_evenly
from referdino_ros.demo.errors import DemoError
from referdino_ros.demo.scene import Scene

SECONDS_OF_A_CAMERA = 20.0


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
    return Material(source, rate, length, endless, spread_evenly(texts, length))


def scene_material(scene: Scene, texts: Sequence[str]) -> Material:
    """A scene, with its own commands or else with the given texts, whose truth is not known.

    Raises:
        DemoError: no object of the scene can be seen for long enough to have commands.
    """
    commands = spread_evenly(texts, scene.seconds) if texts else scene.commands
    if not commands:
        raise DemoError("No object of this scene stays in view; choose another --seed.")
    return Material(str(scene.video), scene.frame_rate, scene.seconds, False, commands, scene)
