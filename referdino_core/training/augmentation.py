# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Augmentation of training clips: mirroring, cropping, scaling, distortion; clips of one image."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.network.pixels import network_size, resized_pixels
from referdino_core.training.video_recipes import VideoRecipe

MIRRORED = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"}
MIN_CROP = 0.6
"""Smallest side of a crop, as a fraction of the image's."""
LONGEST_SIDE = 640 / 360
"""Largest long side of the network's input in training, as a fraction of its short side."""
_SIDE = re.compile(r"\b(" + "|".join(MIRRORED) + r")\b", re.IGNORECASE)


ROTATION = 20.0
"""Largest rotation of a frame of a pseudo-clip, in degrees."""
SHIFT = 0.1
"""Largest shift of such a frame, as a fraction of its sides."""
PERSPECTIVE = 0.08
"""Standard deviation of how far its corners move, as a fraction of its sides."""
BRIGHTNESS, TINT = 40.0, 5.0
"""Largest change of its brightness, and of each of its colours."""
BLUR, BLUR_LENGTHS = 0.25, (9, 11)
"""Probability and lengths in pixels of its motion blur."""


@dataclass(frozen=True, eq=False)
class ClipSample:
    """A training clip with its sentence.

    Attributes:
        name: of the video and the sentence, for messages.
        images: (T, H, W, 3) uint8 RGB.
        masks: (T, H, W) bool, the referred object.
        sentence: that refers to it.
    """

    name: str
    images: np.ndarray
    masks: np.ndarray
    sentence: str


def pseudo_clip(sample: ClipSample, frames: int, generator: np.random.Generator) -> ClipSample:
    """A clip of one image: the image itself and distorted copies of it, in random order.

    As published for the joint training of referring models on RefCOCO's images and on videos
    (SeqFormer, ECCV 2022, and ReferFormer, CVPR 2022): rotation, shift, perspective, brightness and
    motion blur of these sizes. The object may leave some of the frames.

    Args:
        sample: with one frame.
    """
    image, mask = sample.images[0], sample.masks[0]
    shown = [(image, mask), *(_moved(image, mask, generator) for _ in range(frames - 1))]
    order = generator.permutation(frames)
    images, masks = ([shown[place][part] for place in order] for part in (0, 1))
    return replace(sample, images=np.stack(images), masks=np.stack(masks))


def _moved(
    image: np.ndarray, mask: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A copy of an image (H, W, 3) and its mask (H, W) as if the camera had moved."""
    height, width = mask.shape
    sides = np.array([width, height], np.float32)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * sides
    inwards = np.abs(generator.normal(0, PERSPECTIVE, (4, 2))).clip(0, 0.4).astype(np.float32)
    towards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
    seen = corners + inwards * towards * sides
    angle = np.deg2rad(generator.uniform(-ROTATION, ROTATION))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = generator.uniform(-SHIFT, SHIFT, 2) * sides
    placed = (corners - sides / 2) @ turn.T.astype(np.float32) + sides / 2 + shift
    matrix = cv2.getPerspectiveTransform(seen, placed.astype(np.float32))
    lit = image.astype(np.float32) + generator.uniform(-BRIGHTNESS, BRIGHTNESS)
    lit += generator.uniform(-TINT, TINT, 3)
    moved = cv2.warpPerspective(lit.clip(0, 255).round().astype(np.uint8), matrix, (width, height))
    if generator.random() < BLUR:
        moved = _blurred(moved, generator)
    seen_mask = cv2.warpPerspective(
        mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST
    )
    return moved, seen_mask > 0


def _blurred(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An image blurred along a random direction."""
    length = int(generator.choice(BLUR_LENGTHS))
    centre = (length - 1) / 2
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1
    turn = cv2.getRotationMatrix2D((centre, centre), generator.uniform(0, 180), 1.0)
    kernel = cv2.warpAffine(line, turn, (length, length))
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def mirrored_sentence(sentence: str) -> str:
    """The sentence that is true of the mirrored image: left and right change places."""

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        other = MIRRORED[word.lower()]
        return other.capitalize() if word[0].isupper() else other

    return _SIDE.sub(swap, sentence)


def augmented(
    sample: ClipSample, recipe: VideoRecipe, generator: np.random.Generator
) -> ClipSample:
    """The clip mirrored, cropped and distorted at random, alike in all of its frames."""
    if generator.random() < recipe.flip:
        sample = replace(
            sample,
            images=sample.images[:, :, ::-1],
            masks=sample.masks[:, :, ::-1],
            sentence=mirrored_sentence(sample.sentence),
        )
    if generator.random() < recipe.crop:
        sample = cropped(sample, generator)
    return replace(sample, images=distorted(sample.images, recipe.distortion, generator))


def cropped(sample: ClipSample, generator: np.random.Generator) -> ClipSample:
    """A random rectangle of every frame that holds all of the target where it fits in one."""
    spans = []
    for size, axes in zip(sample.images.shape[1:3], ((0, 2), (0, 1)), strict=True):
        shown = np.flatnonzero(sample.masks.any(axis=axes))
        first, last = (int(shown[0]), int(shown[-1]) + 1) if len(shown) else (size // 2, size // 2)
        least = max(int(MIN_CROP * size), last - first, 1)
        length = int(generator.integers(least, size + 1))
        start = int(generator.integers(max(0, last - length), min(first, size - length) + 1))
        spans.append(slice(start, start + length))
    rows, columns = spans
    return replace(
        sample, images=sample.images[:, rows, columns], masks=sample.masks[:, rows, columns]
    )


def distorted(images: np.ndarray, probability: float, generator: np.random.Generator) -> np.ndarray:
    """Images (T, H, W, 3) uint8 with another brightness, contrast and saturation."""
    values = images.astype(np.float32)
    if generator.random() < probability:
        values *= generator.uniform(0.75, 1.25)
    if generator.random() < probability:
        mean = values.mean()
        values = (values - mean) * generator.uniform(0.6, 1.4) + mean
    if generator.random() < probability:
        grey = values.mean(axis=-1, keepdims=True)
        values = (values - grey) * generator.uniform(0.5, 1.5) + grey
    return values.round().clip(0, 255).astype(np.uint8)


def network_input(
    sample: ClipSample, short_side: int, scales: tuple[float, ...], generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Pixels (T, 3, h, w) float32 and masks (T, h, w) bool at a random scale."""
    scaled = max(32, round(short_side * float(generator.choice(scales))))
    longest = max(scaled, round(LONGEST_SIDE * max(1.0, *scales) * short_side))
    height, width = sample.masks.shape[1:]
    size = network_size(height, width, scaled, longest)
    masks = torch.from_numpy(np.ascontiguousarray(sample.masks))
    resized = F.interpolate(masks[:, None].float(), size=size, mode="nearest-exact")[:, 0] > 0.5
    return resized_pixels(sample.images, size), resized
