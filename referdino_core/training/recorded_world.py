# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Clips of the world, rendered once and stored for training."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from referdino_core.world import Expression, WorldRenderer, WorldSettings
from referdino_core.world.clip import Split

logger = logging.getLogger("referdino.training")

SHARD = 100
ABSENT_AREA = 15


@dataclass(frozen=True)
class ObjectAttributes:
    """Attributes of one object, for dense supervision."""

    shape: str
    colour: str
    size: str


@dataclass(frozen=True)
class RecordedClip:
    """One clip with its ground truth; arrays are memory-mapped.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB. segmentation: (T, H, W) uint8, k for objects[k - 1].
        stamps: (T,) float64 seconds.
    """

    frames: np.ndarray
    segmentation: np.ndarray
    stamps: np.ndarray
    objects: tuple[ObjectAttributes, ...]
    expressions: tuple[Expression, ...]


class World(Protocol):
    """Sequence of recorded clips."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RecordedClip: ...


class SeveralWorlds:
    """Alternating clips of several worlds, as many of each as the shortest has."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self.worlds = tuple(worlds)

    def __len__(self) -> int:
        return len(self.worlds) * min(map(len, self.worlds))

    def __getitem__(self, index: int) -> RecordedClip:
        row, world = divmod(index, len(self.worlds))
        return self.worlds[world][row]


class RecordedWorld:
    """The first clips of a split, rendered in shards of 100; interrupted rendering resumes."""

    def __init__(self, folder: Path, split: Split, clips: int, settings: WorldSettings) -> None:
        self.folder, self.split, self.settings = folder, split, settings
        self.shards = -(-clips // SHARD)
        self.opened: dict[int, tuple[np.ndarray, np.ndarray, list[dict]]] = {}

    def __len__(self) -> int:
        return self.shards * SHARD

    def __getstate__(self) -> dict[str, object]:
        """State without open files: other processes open them again instead of copying arrays."""
        return {**vars(self), "opened": {}}

    def render(self, workers: int = 2) -> None:
        """Render the missing shards, with a progress bar."""
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [shard for shard in range(self.shards) if not self.path(shard, "json").exists()]
        if not missing:
            return
        logger.info("Rendering %d %s clips.", len(missing) * SHARD, self.split)
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            rendered = pool.map(render_shard, [(self, shard) for shard in missing])
            for _ in tqdm(rendered, total=len(missing), desc=f"{self.split} shards", unit="shard"):
                pass

    def path(self, shard: int, kind: str) -> Path:
        """Path of a file of one shard; `kind` is frames.npy, segmentation.npy or json."""
        return self.folder / f"{self.split}_{shard:04d}.{kind}"

    def __getitem__(self, index: int) -> RecordedClip:
        shard, row = divmod(index, SHARD)
        if shard not in self.opened:
            self.opened[shard] = (
                np.load(self.path(shard, "frames.npy"), mmap_mode="r"),
                np.load(self.path(shard, "segmentation.npy"), mmap_mode="r"),
                json.loads(self.path(shard, "json").read_text()),
            )
        frames, segmentation, truths = self.opened[shard]
        truth = truths[row]
        return RecordedClip(
            frames=frames[row],
            segmentation=segmentation[row],
            stamps=self.settings.stamps,
            objects=tuple(ObjectAttributes(**item) for item in truth["objects"]),
            expressions=tuple(
                Expression(
                    *(e["text"], e["kind"], e["target"]),
                    tuple(e["candidates"]),
                    tuple(e.get("others", ())),
                )
                for e in truth["expressions"]
            ),
        )


def render_shard(task: tuple[RecordedWorld, int]) -> None:
    """Render one shard; the JSON file of ground truth is written last and marks it as complete."""
    world, shard = task
    with WorldRenderer(world.settings) as renderer:
        first = shard * SHARD
        clips = [renderer.clip(world.split, index) for index in range(first, first + SHARD)]
    np.save(world.path(shard, "frames.npy"), np.stack([clip.frames for clip in clips]))
    np.save(world.path(shard, "segmentation.npy"), np.stack([c.segmentation for c in clips]))
    truths = [
        {
            "objects": [{"shape": o.shape, "colour": o.colour, "size": o.size} for o in c.objects],
            "expressions": [asdict(expression) for expression in c.expressions],
        }
        for c in clips
    ]
    partial = world.path(shard, "part")
    partial.write_text(json.dumps(truths))
    partial.rename(world.path(shard, "json"))


def visible(segmentation: np.ndarray, objects: Sequence[int]) -> list[int]:
    """The object ids with at least 15 pixels in an (H, W) segmentation."""
    areas = np.bincount(segmentation.ravel(), minlength=256)
    return [number for number in objects if areas[number] >= ABSENT_AREA]
