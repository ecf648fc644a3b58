# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Clips grounded once by the frozen grounder, from which the temporal stage is trained."""

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
from referdino_core.training.augmentation import mirrored_sentence
from referdino_core.training.batches import MOTION_WORDS, augmented
from referdino_core.training.recorded_world import ABSENT_AREA, RecordedClip, World
from referdino_core.training.stages import mixed_precision
from referdino_core.training.supervision import box_overlaps
from referdino_core.world import Expression

CHUNK = 25
KEYFRAMES = 1
CLIPS_PER_KEYFRAME = 3
"""Mask features are 90 % of a grounded clip's size: only every third clip stores any."""
CLIPS_PER_MOVING_CAMERA = 3
"""Of the clips without a sentence about motion, only every third is grounded."""
MOTION_SENTENCES, OTHER_SENTENCES = 3, 2
"""Maximum number per clip; there are sentences about motion only if the camera is still."""


@dataclass(frozen=True)
class GroundedClip:
    """One sentence on T frames of a clip, grounded and aligned to slots.

    Attributes:
        queries: (T, Q, d) float16 in the order of the slots. references: (T, Q, 4) their boxes.
        overlaps: (T, Q) overlaps of the refined boxes with the target, or the highest of several
            targets; 0 if it is not visible.
        text: (T, L, d) float16. stamps: (T,) seconds.
        boxes: (T, 4) ground truth, centre x, y, width, height.
        valid: (T,) bool, whether the target is visible; False if a sentence means several objects.
        keyframes: (K,) frames whose masks are stored, none or one.
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
    """Whether the clip has a sentence about motion, which requires a still camera."""
    return any(MOTION_WORDS & set(expression.text.split()) for expression in clip.expressions)


def choose_expressions(clip: RecordedClip, generator: np.random.Generator) -> list[Expression]:
    """Random sentences of a clip, most of them about motion if there are any.

    First the kind is drawn, then the sentence, so that rare kinds are not outnumbered.
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
        normalise(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()).to(model.device)
    )
    kept = torch.from_numpy(np.sort(generator.permutation(frames)[:keyframes]))
    grounded = []
    for expression in choose_expressions(clip, generator):
        sentence = mirrored_sentence(expression.text) if step < 0 else expression.text
        text: TextFeatures = model.text_encoder([tokenizer.encode(sentence)]).expand(frames)
        grounding = model.grounder(image, text)
        masks = torch.stack([segmentation == number for number in expression.targets or (255,)], 1)
        shown = masks.flatten(2).sum(2) >= ABSENT_AREA
        masks &= shown[..., None, None]
        boxes = boxes_of_masks(masks)
        stamps = torch.from_numpy(clip.stamps)
        slots = in_slots(model, grounding, stamps.tolist())
        queries, references, refined = (one.cpu() for one in slots)
        grounded.append(
            GroundedClip(
                queries=queries.half(),
                references=references,
                overlaps=(box_overlaps(refined, boxes) * shown[:, None]).amax(2),
                text=grounding.text.half().cpu(),
                stamps=stamps,
                boxes=boxes[:, 0],
                valid=shown[:, 0] & (len(expression.targets) < 2),
                keyframes=kept if len(expression.targets) < 2 else kept[:0],
                mask_features=grounding.masks.features.cpu()[kept].half(),
                masks=masks[kept, 0],
            )
        )
    return grounded


def in_slots(
    model: ReferDINO, grounding: Grounding, stamps: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Surviving queries (T, Q, d), references and refined boxes (T, Q, 4) in slot order.

    Refined boxes are concatenated to the references, so that the memory aligns both.
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
    """Inputs of a process that grounds clips."""

    model: ReferDINO
    tokenizer: Tokenizer
    world: World


def ground_world(
    plan: GroundingPlan, folder: Path, clips: int, workers: int = 2
) -> list[GroundedClip]:
    """Ground the first clips of a world, in chunks on disk; a second call resumes."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {first: folder / f"{first:05d}.pt" for first in range(0, clips, CHUNK)}
    missing = [first for first, path in paths.items() if not path.exists()]
    if missing and plan.model.device.type != "cpu":
        for first in tqdm(missing, "grounding", unit="chunk"):
            ground_chunk(plan, first, paths[first])
    elif missing:
        # One thread each: operators on a clip are too small for several threads.
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
    """Ground a chunk of clips from `first` on, and write it atomically."""
    rows = []
    for index in range(first, min(first + CHUNK, len(plan.world))):
        generator = np.random.default_rng([index, 7])
        clip = plan.world[index]
        if index % CLIPS_PER_MOVING_CAMERA and not speaks_of_motion(clip):
            continue
        keyframes = 0 if index % CLIPS_PER_KEYFRAME else KEYFRAMES
        with mixed_precision(plan.model.device):
            items = ground_clip(plan.model, plan.tokenizer, clip, generator, keyframes)
        rows += [vars(item) for item in items]
    unfinished = path.with_suffix(".part")
    torch.save(rows, unfinished)
    unfinished.rename(path)
