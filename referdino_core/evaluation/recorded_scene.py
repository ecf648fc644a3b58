# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded scenes with ground truth: rendered ones, and the bundled one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from referdino_core.files import OutputError
from referdino_core.media.writers import VideoWriter
from referdino_core.messages import run_lengths
from referdino_core.world import Clip, WorldRenderer, WorldSettings
from referdino_core.world.observation import VISIBLE_AREA
from referdino_core.world.settings import REFERENCE_WIDTH
from referdino_core.world.timed_commands import TimedCommand, choose_commands

BUNDLED = Path(__file__).parent / "recording"
"""The bundled scene: output of `render` in a demo with the default seed."""

WIDTH, HEIGHT = 320, 240
IMAGE_SIZE = f"{WIDTH}x{HEIGHT}"
FRAME_RATE = 10.0
_VIDEO, _TRUTH = "scene.mp4", "truth.json"


@dataclass(frozen=True, eq=False)
class Scene:
    """A video with ground truth.

    Attributes:
        video: path of the video file.
        frame_rate: frames per second.
        objects: descriptions of the objects, such as "big red ball".
        segmentation: (T, H, W) uint8, 0 background, k where objects[k - 1] is visible.
        commands: sentences with their targets, each valid while it is active.
    """

    video: Path
    frame_rate: float
    objects: tuple[str, ...]
    segmentation: np.ndarray
    commands: tuple[TimedCommand, ...]

    @property
    def seconds(self) -> float:
        """Duration of the scene."""
        return len(self.segmentation) / self.frame_rate

    @property
    def visible_area(self) -> int:
        """Pixels below which an object counts as absent from a frame."""
        scale = self.segmentation.shape[2] / REFERENCE_WIDTH
        return round(VISIBLE_AREA * scale**2)

    def cut(self, seconds: float) -> Scene:
        """The scene cut to its first seconds; the video file is unchanged."""
        frames = min(len(self.segmentation), max(1, round(seconds * self.frame_rate)))
        return replace(
            self,
            segmentation=self.segmentation[:frames],
            commands=tuple(command for command in self.commands if command.begins < seconds),
        )

    def at_frame_rate(self, frame_rate: float) -> Scene:
        """The scene with the same frames at another frame rate."""
        scale = self.frame_rate / frame_rate
        commands = tuple(
            replace(command, begins=command.begins * scale) for command in self.commands
        )
        return replace(self, frame_rate=frame_rate, commands=commands)


def render(seed: int, seconds: float, folder: Path) -> Scene:
    """Render a clip of the test split, which no model is trained on, and save it in `folder`.

    Raises:
        WorldUnavailable: MuJoCo or OpenGL is missing.
        ReferDINOError: seed or length is invalid, or the folder cannot be written.
    """
    frames = max(1, round(seconds * FRAME_RATE))
    settings = WorldSettings(WIDTH, HEIGHT, frames, FRAME_RATE)
    with WorldRenderer(settings) as renderer:
        clip = renderer.clip("test", seed)
    _save(clip, choose_commands(clip, settings), folder)
    return load(folder)


def load(folder: Path) -> Scene:
    """Load a scene saved by `render`."""
    truth = json.loads((folder / _TRUTH).read_text(encoding="utf-8"))
    height, width = truth["height"], truth["width"]
    segmentation = np.zeros((len(truth["masks"]), height, width), np.uint8)
    for labels, masks in zip(segmentation, truth["masks"], strict=True):
        for number, counts in enumerate(masks, start=1):
            labels[run_lengths.decode(counts, height, width)] = number
    return Scene(
        folder / _VIDEO,
        truth["frame_rate"],
        tuple(truth["objects"]),
        segmentation,
        tuple(TimedCommand(**command) for command in truth["commands"]),
    )


def _save(clip: Clip, commands: Sequence[TimedCommand], folder: Path) -> None:
    height, width = clip.segmentation.shape[1:]
    with VideoWriter(folder / _VIDEO, FRAME_RATE, (width, height)) as video:
        for image in clip.frames:
            video.write(image)
    numbers = range(1, len(clip.objects) + 1)
    truth = {
        "world": {"split": clip.split, "index": clip.index},
        "frame_rate": FRAME_RATE,
        "height": height,
        "width": width,
        "objects": [f"{thing.size} {thing.colour} {thing.shape}" for thing in clip.objects],
        "commands": [asdict(command) for command in commands],
        "masks": [
            [run_lengths.encode(labels == number) for number in numbers]
            for labels in clip.segmentation
        ],
    }
    try:
        (folder / _TRUTH).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder / _TRUTH} cannot be written: {error.strerror}.") from error
