# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Third stage of the recipe: the readout learns time from grounded clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from referdino_core.network.mask_decoder import MaskFeatures, decode_masks
from referdino_core.network.object_memory import ObjectMemory, Window, stack_windows
from referdino_core.network.referdino import ReferDINO
from referdino_core.training.grounded_clips import GroundedClip
from referdino_core.training.supervision import (
    Assignment,
    assign,
    box_loss,
    box_overlaps,
    mask_loss,
    score_loss,
)

LONGEST_WINDOW = 8


def draw_window(item: GroundedClip, generator: np.random.Generator) -> range:
    """A random run of frames, the longer the likelier; it ends at a keyframe half of the time."""
    frames = len(item.stamps)
    if generator.random() < 0.5:
        last = int(item.keyframes[generator.integers(len(item.keyframes))])
    else:
        last = int(generator.integers(frames))
    longest = min(last + 1, LONGEST_WINDOW)
    length = int(np.ceil(longest * np.sqrt(generator.random())))
    return range(last + 1 - max(length, 1), last + 1)


def remember(model: ReferDINO, item: GroundedClip, frames: range) -> tuple[ObjectMemory, Tensor]:
    """The object memory after those frames, and the (T, Q, 4) refined boxes in its slots' order.

    Refined boxes ride along behind the references, so that they are aligned with them.
    """
    memory = model.object_memory(len(frames))
    for frame in frames:
        memory.update(
            item.queries[frame].float(),
            torch.cat((item.references[frame], item.refined[frame]), dim=-1),
            item.text[frame].float(),
            float(item.stamps[frame]),
        )
    return memory, torch.stack([frame.references[:, 4:] for frame in memory.window])


def temporal_losses(
    model: ReferDINO, items: Sequence[GroundedClip], generator: np.random.Generator
) -> dict[str, Tensor]:
    """Losses of windows of equal length, one per item, by name."""
    windows = [draw_window(item, generator) for item in items]
    length = min(LONGEST_WINDOW, max(len(window) for window in windows))
    terms: list[dict[str, Tensor]] = []
    for size in range(1, length + 1):
        group = [(i, w) for i, w in zip(items, windows, strict=True) if len(w) == size]
        if group:
            terms.append(window_losses(model, group))
    return {
        name: torch.stack([term[name] for term in terms if name in term]).sum() / len(items)
        for name in sorted({name for term in terms for name in term})
    }


def window_losses(
    model: ReferDINO, group: Sequence[tuple[GroundedClip, range]]
) -> dict[str, Tensor]:
    """Summed losses of windows of one length."""
    remembered = [remember(model, item, frames) for item, frames in group]
    window = stack_windows([memory for memory, _ in remembered])
    window = Window(
        window.queries, window.references[..., :4], window.text, window.text_padding, window.ages
    )
    refined = torch.stack([boxes for _, boxes in remembered])
    truth = torch.stack([item.boxes[frames.start : frames.stop] for item, frames in group])
    valid = torch.stack([item.valid[frames.start : frames.stop] for item, frames in group])

    history = model.readout.temporal_decoder(window.queries, window.text[:, :, 0], window.ages)
    scores = model.readout.similarity(history, window.text, window.text_padding[:, None])
    overlaps = box_overlaps(refined.flatten(0, 1), truth.flatten(0, 1)[:, None])[..., 0]
    overlaps = overlaps.view(scores.shape) * valid[..., None]
    target = torch.where(overlaps > 0.5, overlaps, 0.0)
    # The newest frame is the one that is answered: it weighs as much as all others together.
    importance = torch.ones(scores.shape[1])
    importance[-1] = max(1, scores.shape[1] - 1)
    importance = importance / importance.sum()
    per_frame = torch.stack(
        [
            score_loss(scores[:, t], target[:, t], torch.tensor(1.0)) * importance[t]
            for t in range(scores.shape[1])
        ]
    )
    losses = {"score": 2 * per_frame.sum()}

    newest = history[:, -1]
    references = window.references[:, -1]
    boxes = model.readout.boxes(newest, references)
    assignment = assign(boxes, truth[:, -1:], valid[:, -1:])
    positive = assignment.positive & (target[:, -1] > 0)
    if positive.any():
        chosen = Assignment(assignment.best, positive, assignment.target, assignment.score)
        losses["box"] = box_loss(boxes, truth[:, -1:], chosen) * float(positive.any(1).sum())
    losses |= keyframe_mask_loss(model, group, window, newest, target[:, -1])
    return losses


def keyframe_mask_loss(
    model: ReferDINO,
    group: Sequence[tuple[GroundedClip, range]],
    window: Window,
    newest: Tensor,
    target: Tensor,
) -> dict[str, Tensor]:
    """Summed mask loss of the windows that end at a keyframe with the target in view."""
    rows, features, truths = [], [], []
    for row, (item, frames) in enumerate(group):
        places = (item.keyframes == frames[-1]).nonzero().flatten().tolist()
        if places and target[row].max() > 0:
            rows.append(row)
            features.append(item.mask_features[places[0]].float())
            truths.append(item.masks[places[0]])
    if not rows:
        return {}
    stacked = torch.stack(features)
    masks = MaskFeatures(
        stacked,
        torch.zeros(len(rows), *stacked.shape[-2:], dtype=torch.bool),
        torch.ones(len(rows), 2),
    )
    embeddings = model.readout.mask_embeddings(
        newest[rows],
        window.references[rows, -1],
        window.text[rows, -1],
        window.text_padding[rows],
        masks,
    )
    best = target[rows].argmax(1)
    chosen = embeddings[torch.arange(len(rows)), best]
    logits = decode_masks(chosen[:, None], stacked)[:, 0]
    return {"masks": mask_loss(logits, torch.stack(truths)) * len(rows)}
