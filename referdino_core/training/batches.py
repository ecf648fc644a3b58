# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of frames and sentences, drawn from recorded clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from referdino_core.boxes import boxes_of_masks
from referdino_core.network.pixels import normalise
from referdino_core.training.attributes import attribute_indices
from referdino_core.training.augmentation import mirrored_sentence
from referdino_core.training.recorded_world import (
    ObjectAttributes,
    RecordedClip,
    World,
    visible,
)
from referdino_core.world import Expression

Batch = TypeVar("Batch")
MOTION_WORDS = frozenset(("moving", "going", "still", "standing"))
KIND_SHARES = {
    "attribute": 0.24,
    "location": 0.20,
    "relation": 0.20,
    "motion": 0.08,
    "direction": 0.08,
    "plural": 0.06,
    "absent": 0.25,
}


@dataclass(frozen=True)
class FrameBatch:
    """N images with E sentences each; sentence n * E + e belongs to image n.

    Attributes:
        pixels: (N, 3, H, W) float32, normalised.
        sentences: N * E texts.
        masks: (N * E, K, H, W) bool masks of the objects that each sentence may mean.
        boxes: (N * E, K, 4) centre x, y, width, height in [0, 1].
        exists: (N * E, K) bool, which of the K objects exist.
        segmentation: (N, H, W) int64, 0 background, k for the k-th object of the image.
        attributes: (N, K + 1, 3) int64 values of the image's objects, see `attribute_indices`.
    """

    pixels: Tensor
    sentences: tuple[str, ...]
    masks: Tensor
    boxes: Tensor
    exists: Tensor
    segmentation: Tensor
    attributes: Tensor


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A batch, a dataclass that may hold others, with all its tensors on a device."""

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device, non_blocking=True)
        return on_device(value, device) if is_dataclass(value) else value

    values = {one.name: moved(getattr(batch, one.name)) for one in fields(batch)}  # type: ignore[arg-type]
    return replace(batch, **values)  # type: ignore[type-var]


def static_referents(expression: Expression) -> tuple[int, ...]:
    """Objects that the sentence may mean, judging by a single frame.

    For a sentence about motion these are all objects that fit its other words, even if none of them
    is the target: a single frame cannot decide.
    """
    if MOTION_WORDS & set(expression.text.split()):
        return expression.candidates
    return expression.targets


def draw_expression(clip: RecordedClip, generator: np.random.Generator) -> Expression | None:
    """A random expression of the clip, its kind weighted by `KIND_SHARES`; None without any."""
    kinds = sorted({expression.kind for expression in clip.expressions})
    if not kinds:
        return None
    shares = np.array([KIND_SHARES[kind] for kind in kinds])
    kind = generator.choice(kinds, p=shares / shares.sum())
    options = [expression for expression in clip.expressions if expression.kind == kind]
    return options[generator.integers(len(options))]


def augmented(frame: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The (H, W, 3) uint8 frame as float32 in [0, 1], with random lighting and noise."""
    gain = generator.uniform(0.85, 1.15) * generator.uniform(0.97, 1.03, 3)
    image = (frame.astype(np.float32) / 255) ** generator.uniform(0.85, 1.18) * gain
    image = image + generator.normal(0, 0.01, image.shape)
    return np.clip(image, 0, 1).astype(np.float32)


def draw_frame(world: World, generator: np.random.Generator) -> tuple[RecordedClip, int]:
    """A random clip and the number of one of its frames."""
    clip = world[int(generator.integers(len(world)))]
    return clip, int(generator.integers(len(clip.frames)))


def mean_area(segmentation: np.ndarray) -> float:
    """Mean number of pixels of the objects in an (H, W) segmentation, infinite without any."""
    areas = np.bincount(segmentation.ravel())[1:]
    return float(areas[areas > 0].mean()) if areas.any() else math.inf


def draw_frames(
    world: World, images: int, sentences: int, generator: np.random.Generator
) -> FrameBatch:
    """Random frames of random clips, mirrored half of the time.

    Small objects are the hard ones: of two random frames the one with smaller objects is taken.
    """
    pixels: list[np.ndarray] = []
    texts: list[str] = []
    referents: list[list[np.ndarray]] = []
    segmentations: list[np.ndarray] = []
    objects: list[tuple[ObjectAttributes, ...]] = []
    while len(pixels) < images:
        clip, moment = min(
            (draw_frame(world, generator) for _ in range(2)),
            key=lambda drawn: mean_area(drawn[0].segmentation[drawn[1]]),
        )
        drawn = [draw_expression(clip, generator) for _ in range(sentences)]
        frame, segmentation = clip.frames[moment], clip.segmentation[moment]
        mirror = generator.random() < 0.5
        if mirror:
            frame, segmentation = frame[:, ::-1], segmentation[:, ::-1]
        expressions = [expression for expression in drawn if expression is not None]
        if len(expressions) < sentences:
            continue
        pixels.append(augmented(frame, generator))
        segmentations.append(segmentation.astype(np.int64))
        objects.append(clip.objects)
        texts += [mirrored_sentence(e.text) if mirror else e.text for e in expressions]
        referents += [
            [segmentation == number for number in visible(segmentation, static_referents(e))]
            for e in expressions
        ]
    masks, exists = stack_masks(referents, pixels[0].shape[:2])
    return FrameBatch(
        pixels=normalise(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()),
        sentences=tuple(texts),
        masks=masks,
        boxes=boxes_of_masks(masks),
        exists=exists,
        segmentation=torch.from_numpy(np.stack(segmentations)),
        attributes=torch.stack([attribute_indices(row, max(map(len, objects))) for row in objects]),
    )


def stack_masks(
    referents: Sequence[Sequence[np.ndarray]], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Masks (B, K, H, W) bool, padded to the most referents of a row, and (B, K) which exist."""
    most = max(1, max(len(row) for row in referents))
    masks = np.zeros((len(referents), most, *size), dtype=bool)
    exists = np.zeros((len(referents), most), dtype=bool)
    for row, row_masks in enumerate(referents):
        for column, mask in enumerate(row_masks):
            masks[row, column], exists[row, column] = mask, True
    return torch.from_numpy(masks), torch.from_numpy(exists)
