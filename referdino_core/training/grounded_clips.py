# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Clips run through the frozen grounder once, so that time can be learnt from them many times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from referdino_core.boxes import boxes_of_masks
from referdino_core.network.pixels import normalise
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.network.tokenizer import Tokenizer
from referdino_core.training.batches import MOTION_WORDS, augmented, mirrored
from referdino_core.training.recorded_world import ABSENT_AREA, RecordedClip, RecordedWorld
from referdino_core.world import Expression

CHUNK = 25


@dataclass(frozen=True)
class GroundedClip:
    """One sentence over T frames of a clip, as the frozen grounder sees it.

    Attributes:
        queries: (T, Q, d) float16. references, refined: (T, Q, 4) boxes before and after.
        text: (T, L, d) float16. stamps: (T,) seconds.
        boxes: (T, 4) truth, centre x, y, width, height. valid: (T,) bool, target in view.
        keyframes: (K,) frames whose masks are kept.
        mask_features: (K, d, h, w) float16. masks: (K, H, W) bool truth.
    """

    queries: Tensor
    references: Tensor
    refined: Tensor
    text: Tensor
    stamps: Tensor
    boxes: Tensor
    valid: Tensor
    keyframes: Tensor
    mask_features: Tensor
    masks: Tensor


def choose_expressions(
    clip: RecordedClip, count: int, generator: np.random.Generator
) -> list[Expression]:
    """Sentences of a clip, two thirds of them about motion where there are such."""
    about_motion = [e for e in clip.expressions if MOTION_WORDS & set(e.text.split())]
    static = [e for e in clip.expressions if not MOTION_WORDS & set(e.text.split())]
    wanted = min(len(about_motion), round(count * 2 / 3))
    chosen = [about_motion[i] for i in generator.permutation(len(about_motion))[:wanted]]
    return chosen + [static[i] for i in generator.permutation(len(static))[: count - wanted]]


@torch.no_grad()
def ground_clip(
    model: ReferDINO,
    tokenizer: Tokenizer,
    clip: RecordedClip,
    sentences: int,
    frames: int,
    generator: np.random.Generator,
) -> list[GroundedClip]:
    """Ground some sentences in a random selection of a clip's frames, mirrored half of the time."""
    moments = np.sort(generator.permutation(len(clip.frames))[:frames])
    step = -1 if generator.random() < 0.5 else 1
    images = np.stack([augmented(clip.frames[moment][:, ::step], generator) for moment in moments])
    segmentation = torch.from_numpy(clip.segmentation[moments][:, :, ::step].copy())
    pixels = normalise(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    image = model.image_encoder(pixels)
    keyframes = torch.from_numpy(np.sort(generator.permutation(frames)[:2]))
    grounded = []
    for expression in choose_expressions(clip, sentences, generator):
        sentence = mirrored(expression.text) if step < 0 else expression.text
        text: TextFeatures = model.text_encoder([tokenizer.encode(sentence)]).expand(frames)
        grounding = model.grounder(image, text)
        masks = segmentation == (expression.target or 255)
        valid = masks.flatten(1).sum(1) >= ABSENT_AREA
        survivors = grounding.layers[-1]
        grounded.append(
            GroundedClip(
                queries=survivors.queries.half(),
                references=survivors.references,
                refined=survivors.refined,
                text=grounding.text.half(),
                stamps=torch.from_numpy(clip.stamps[moments]),
                boxes=boxes_of_masks(masks & valid[:, None, None]),
                valid=valid,
                keyframes=keyframes,
                mask_features=grounding.masks.features[keyframes].half(),
                masks=masks[keyframes] & valid[keyframes, None, None],
            )
        )
    return grounded


def ground_world(
    model: ReferDINO,
    tokenizer: Tokenizer,
    world: RecordedWorld,
    folder: Path,
    clips: int,
    sentences: int,
    frames: int,
) -> list[GroundedClip]:
    """Ground the first clips of a world, in chunks on disk that survive an interruption."""
    folder.mkdir(parents=True, exist_ok=True)
    grounded: list[GroundedClip] = []
    for first in tqdm(range(0, clips, CHUNK), desc="grounding clips", unit="chunk"):
        path = folder / f"{first:05d}.pt"
        if not path.exists():
            rows = []
            for index in range(first, first + CHUNK):
                generator = np.random.default_rng([index, 7])
                clip = world[index]
                for item in ground_clip(model, tokenizer, clip, sentences, frames, generator):
                    rows.append(vars(item))
            partial = path.with_suffix(".part")
            torch.save(rows, partial)
            partial.rename(path)
        grounded += [GroundedClip(**row) for row in torch.load(path, weights_only=True)]
    return grounded
