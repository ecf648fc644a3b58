# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A recorded scene with its truth: rendered now, or the one that comes along."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from referdino_core.media import run_lengths
from referdino_core.media.writers import VideoWriter
from referdino_core.world import Clip, Expression, WorldRenderer, WorldSettings
from referdino_core.world.observation import VISIBLE_AREA
from referdino_core.world.settings import REFERENCE_WIDTH

BUNDLED = Path(__file__).parent / "recording"
"""What `Scene.save` left in the output folder of a demo with the default seed, copied."""

WIDTH, HEIGHT = 320, 240
FRAME_RATE = 10.0
_VIDEO, _TRUTH = "scene.mp4", "truth.json"


@dataclass(frozen=True, eq=False)
class Scene:
    """A video and what is true of it.

    Attributes:
        video: its file.
        frame_rate: frames per second.
        objects: what each object is, such as "big red ball".
        segmentation: (T, H, W) uint8, 0 background, k where objects[k - 1] is visible.
        expressions: sentences that are true of the whole scene.
    """

    video: Path
    frame_rate: float
    objects: tuple[str, ...]
    segmentation: np.ndarray
    expressions: tuple[Expression, ...]

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.segmentation) / self.frame_rate

    @property
    def visible_area(self) -> int:
        """Pixels below which an object counts as absent from a frame."""
        scale = self.segmentation.shape[2] / REFERENCE_WIDTH
        return round(VISIBLE_AREA * scale**2)

    def areas(self) -> np.ndarray:
        """Visible pixels of every object in every frame, (K, T) int."""
        numbers = range(1, len(self.objects) + 1)
        return np.stack([np.count_nonzero(self.segmentation == k, axis=(1, 2)) for k in numbers])

    def cut(self, seconds: float) -> Scene:
        """The truth of its beginning; the video stays as it is."""
        frames = min(len(self.segmentation), max(1, round(seconds * self.frame_rate)))
        return Scene(
            self.video,
            self.frame_rate,
            self.objects,
            self.segmentation[:frames],
            self.expressions,
        )


def render(seed: int, seconds: float, folder: Path) -> Scene:
    """Render a clip of the test split, which no model is trained on, and save it in `folder`.

    Raises:
        WorldUnavailable: there is no MuJoCo or no OpenGL here.
        ReferDINOError: seed or length are impossible, or the folder cannot be written.
    """
    frames = max(1, round(seconds * FRAME_RATE))
    settings = WorldSettings(WIDTH, HEIGHT, frames, FRAME_RATE)
    with WorldRenderer(settings) as renderer:
        clip = renderer.clip("test", seed)
    _save(clip, folder)
    return load(folder)


def load(folder: Path) -> Scene:
    """A scene that `render` saved."""
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
        tuple(
            Expression(entry["text"], entry["kind"], entry["target"], tuple(entry["candidates"]))
            for entry in truth["expressions"]
        ),
    )


def _save(clip: Clip, folder: Path) -> None:
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
        "expressions": [asdict(expression) for expression in clip.expressions],
        "masks": [
            [run_lengths.encode(labels == number) for number in numbers]
            for labels in clip.segmentation
        ],
    }
    (folder / _TRUTH).write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
