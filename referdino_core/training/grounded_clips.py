# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Clips run through the frozen grounder once, so that time can be learnt from them many times."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from referdino_core.boxes import boxes_of_masks
from referdino_core.network.grounder import Grounding
from referdino_core.network.pixels import normalise
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.network.tokenizer import Tokenizer
from referdino_core.training.batches import MOTION_WORDS, augmented, mirrored
from referdino_core.training.loop import mixed_precision
from referdino_core.training.recorded_world import ABSENT_AREA, RecordedClip, World
from referdino_core.training.supervision import box_overlaps
from referdino_core.world import Expression

CHUNK = 25
KEYFRAMES = 1
CLIPS_PER_KEYFRAME = 3
"""Mask features are nine tenths of a grounded clip: only every third keeps any."""
CLIPS_PER_MOVING_CAMERA = 3
"""Of the clips without a sentence about motion, too, only every third is grounded."""
MOTION_SENTENCES, OTHER_SENTENCES = 3, 2
"""Of a clip, at most; only where the camera stands still there are sentences about motion."""


@dataclass(frozen=True)
class GroundedClip:
    """One sentence over T frames of a clip, as the frozen grounder and the object memory see it.

    Attributes:
        queries: (T, Q, d) float16 in the order of the slots. references: (T, Q, 4) their boxes.
        overlaps: (T, Q) of the refined boxes with the target, or the best of several; 0 where it
            is out of view.
        text: (T, L, d) float16. stamps: (T,) seconds.
        boxes: (T, 4) ground truth, centre x, y, width, height. valid: (T,) bool, the one target
            in view; never where a sentence means several.
        keyframes: (K,) frames whose masks are kept, none or one.
        mask_features: (K, d, h, w) float16. masks: (K, H, W) bool ground truth.
    """

    queries: Tensor
    references: Tensor
    overlaps: Tensor
    text: Tensor
    stamps: Tensor
    boxes: Tensor
    valid: Tensor
    keyframes: Tensor
    mask_features: Tensor
    masks: Tensor


def speaks_of_motion(clip: RecordedClip) -> bool:
    """Whether the clip has a sentence about motion, which it has only if its camera stands."""
    return any(MOTION_WORDS & set(expression.text.split()) for expression in clip.expressions)


def choose_expressions(clip: RecordedClip, generator: np.random.Generator) -> list[Expression]:
    """Sentences of a clip, most of them about motion where there are such.

    Kinds come first, then sentences, so that few but hard kinds are not drowned by many easy ones.
    """
    about_motion = [e for e in clip.expressions if MOTION_WORDS & set(e.text.split())]
    static = [e for e in clip.expressions if not MOTION_WORDS & set(e.text.split())]
    chosen: list[Expression] = []
    for options, wanted in ((about_motion, MOTION_SENTENCES), (static, OTHER_SENTENCES)):
        kinds = sorted({expression.kind for expression in options})
        for kind in [kinds[i] for i in generator.permutation(len(kinds))[:wanted]]:
            alike = [expression for expression in options if expression.kind == kind]
            chosen.append(alike[generator.integers(len(alike))])
    return chosen


@torch.no_grad()
def ground_clip(
    model: ReferDINO,
    tokenizer: Tokenizer,
    clip: RecordedClip,
    generator: np.random.Generator,
    keyframes: int = KEYFRAMES,
) -> list[GroundedClip]:
    """Ground some sentences in all frames of a clip, mirrored half of the time."""
    frames = len(clip.frames)
    step = -1 if generator.random() < 0.5 else 1
    images = np.stack([augmented(frame[:, ::step], generator) for frame in clip.frames])
    segmentation = torch.from_numpy(clip.segmentation[:, :, ::step].copy())
    image = model.image_encoder(
        normalise(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    )
    kept = torch.from_numpy(np.sort(generator.permutation(frames)[:keyframes]))
    grounded = []
    for expression in choose_expressions(clip, generator):
        sentence = mirrored(expression.text) if step < 0 else expression.text
        text: TextFeatures = model.text_encoder([tokenizer.encode(sentence)]).expand(frames)
        grounding = model.grounder(image, text)
        masks = torch.stack([segmentation == number for number in expression.targets or (255,)], 1)
        shown = masks.flatten(2).sum(2) >= ABSENT_AREA
        masks &= shown[..., None, None]
        boxes = boxes_of_masks(masks)
        stamps = torch.from_numpy(clip.stamps)
        queries, references, refined = in_slots(model, grounding, stamps.tolist())
        grounded.append(
            GroundedClip(
                queries=queries.half(),
                references=references,
                overlaps=(box_overlaps(refined, boxes) * shown[:, None]).amax(2),
                text=grounding.text.half(),
                stamps=stamps,
                boxes=boxes[:, 0],
                valid=shown[:, 0] & (len(expression.targets) < 2),
                keyframes=kept if len(expression.targets) < 2 else kept[:0],
                mask_features=grounding.masks.features[kept].half(),
                masks=masks[kept, 0],
            )
        )
    return grounded


def in_slots(
    model: ReferDINO, grounding: Grounding, stamps: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Survivors of a clip's frames, (T, Q, d) queries, (T, Q, 4) references and refined boxes.

    They stand in the order of the object memory's slots. Refined boxes ride along behind the
    references, so that they are aligned with them.
    """
    memory = model.object_memory(None)
    survivors = grounding.layers[-1]
    for frame, stamp in enumerate(stamps):
        memory.update(
            survivors.queries[frame].float(),
            torch.cat((survivors.references[frame], survivors.refined[frame]), dim=-1),
            grounding.text[frame].float(),
            stamp,
        )
    boxes = torch.stack([frame.references for frame in memory.window])
    queries = torch.stack([frame.queries for frame in memory.window])
    return queries, boxes[..., :4], boxes[..., 4:]


@dataclass(frozen=True)
class GroundingPlan:
    """What a process that grounds clips has to know."""

    model: ReferDINO
    tokenizer: Tokenizer
    world: World


def ground_world(
    plan: GroundingPlan, folder: Path, clips: int, workers: int = 2
) -> list[GroundedClip]:
    """Ground the first clips of a world, in chunks on disk that survive an interruption."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {first: folder / f"{first:05d}.pt" for first in range(0, clips, CHUNK)}
    missing = [first for first, path in paths.items() if not path.exists()]
    if missing:
        # One thread each: operators on a clip are too small to be worth sharing.
        with ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            chunks = [pool.submit(ground_chunk, plan, first, paths[first]) for first in missing]
            for chunk in tqdm(as_completed(chunks), "grounding", len(chunks), unit="chunk"):
                chunk.result()
    return [
        GroundedClip(**row)
        for path in paths.values()
        for row in torch.load(path, weights_only=True)
    ]


def ground_chunk(plan: GroundingPlan, first: int, path: Path) -> None:
    """Ground the clips from `first` on; the file takes its name when it is whole."""
    rows = []
    for index in range(first, min(first + CHUNK, len(plan.world))):
        generator = np.random.default_rng([index, 7])
        clip = plan.world[index]
        if index % CLIPS_PER_MOVING_CAMERA and not speaks_of_motion(clip):
            continue
        keyframes = 0 if index % CLIPS_PER_KEYFRAME else KEYFRAMES
        with mixed_precision():
            items = ground_clip(plan.model, plan.tokenizer, clip, generator, keyframes)
        rows += [vars(item) for item in items]
    unfinished = path.with_suffix(".part")
    torch.save(rows, unfinished)
    unfinished.rename(path)
