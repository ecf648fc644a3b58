# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Fourth stage of the recipe: the readout learns time from grounded clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.network.mask_decoder import MaskFeatures, decode_masks
from referdino_core.network.object_memory import Window
from referdino_core.network.referdino import ReferDINO
from referdino_core.training.grounded_clips import GroundedClip
from referdino_core.training.supervision import (
    POSITIVE_OVERLAP,
    Assignment,
    assign,
    box_loss,
    mask_loss,
    pick_loss,
)

LONGEST_WINDOW = 8
DISPLACEMENTS = 3
"""To the right, down, and the length of both."""
HOP = 0.12
"""Share of the image that no slot's box moves between frames unless it hops to another object."""


@dataclass(frozen=True)
class WindowBatch:
    """N windows of T frames each, and what is true of them.

    Attributes:
        window: what the readout takes.
        scores: (N, T, Q) target scores: the overlap of a slot that covers the target, or 0.
        boxes: (N, 1, 4) ground truth at the newest frame. valid: (N, 1) bool, target in view.
    """

    window: Window
    scores: Tensor
    boxes: Tensor
    valid: Tensor


def draw_windows(items: Sequence[GroundedClip], generator: np.random.Generator) -> list[np.ndarray]:
    """Frames of one window per item, oldest first, all of one length.

    Lengths come as often as in a stream of the clip. A window ends at a keyframe half of the time
    if it can; half of the windows skip frames.
    """
    frames = min(len(item.stamps) for item in items)
    length = min(int(generator.integers(frames)) + 1, LONGEST_WINDOW)
    windows = []
    for item in items:
        keyframes = [frame for frame in item.keyframes.tolist() if frame >= length - 1]
        newest = int(generator.integers(length - 1, frames))
        if keyframes and generator.random() < 0.5:
            newest = keyframes[generator.integers(len(keyframes))]
        earlier = np.arange(newest - length + 1, newest)
        if generator.random() < 0.5:
            earlier = np.sort(generator.permutation(newest)[: length - 1])
        windows.append(np.append(earlier, newest))
    return windows


def stack_items(items: Sequence[GroundedClip], windows: Sequence[np.ndarray]) -> WindowBatch:
    """Cut the windows out of the items and batch them; texts are padded."""
    longest = max(item.text.shape[1] for item in items)
    padding = torch.ones(len(items), longest, dtype=torch.bool)
    texts = []
    for row, (item, frames) in enumerate(zip(items, windows, strict=True)):
        padding[row, : item.text.shape[1]] = False
        texts.append(F.pad(item.text[frames].float(), (0, 0, 0, longest - item.text.shape[1])))
    pairs = list(zip(items, windows, strict=True))
    overlaps = torch.stack([item.overlaps[frames] for item, frames in pairs])
    return WindowBatch(
        window=Window(
            queries=torch.stack([item.queries[frames].float() for item, frames in pairs]),
            references=torch.stack([item.references[frames] for item, frames in pairs]),
            text=torch.stack(texts),
            text_padding=padding,
            ages=torch.stack([i.stamps[f[-1]] - i.stamps[f] for i, f in pairs]).float(),
        ),
        scores=torch.where(overlaps > POSITIVE_OVERLAP, overlaps, 0.0),
        boxes=torch.stack([item.boxes[frames[-1:]] for item, frames in pairs]),
        valid=torch.stack([item.valid[frames[-1:]] for item, frames in pairs]),
    )


def displacement_loss(head: nn.Linear, newest: Tensor, references: Tensor) -> Tensor:
    """How far every slot has come in its window, read from what is left of it at the newest frame.

    Few sentences are about motion, and from them alone the temporal decoder learns the clips by
    heart. This asks the same of every slot, whatever the sentence: the way to the right, the way
    down, and the length of both, without which "moving" and "still" are hardly learnt.

    Args:
        head: (d) to `DISPLACEMENTS`; thrown away after the stage.
        newest: (N, Q, d) history at the newest frame. references: (N, T, Q, 4) boxes.
    """
    centres = references[..., :2]
    steady = (centres.diff(dim=1).abs().amax(-1) < HOP).all(1)
    if references.shape[1] == 1 or not steady.any():
        return newest.sum() * 0
    # Objects cross about an eighth of the image in a window.
    way = 8 * (centres[:, -1] - centres[:, 0])[steady]
    wanted = torch.cat((way, torch.linalg.vector_norm(way, dim=-1, keepdim=True)), dim=-1)
    return F.smooth_l1_loss(head(newest).float()[steady], wanted, beta=0.2)


def temporal_losses(
    model: ReferDINO,
    head: nn.Linear,
    items: Sequence[GroundedClip],
    generator: np.random.Generator,
) -> dict[str, Tensor]:
    """Losses of one window per item, by name; for `head` see `displacement_loss`.

    Scores are learnt with plain cross-entropy: a score is then the chance of a slot to be right,
    which thresholds in the stream can rely on.
    """
    windows = draw_windows(items, generator)
    batch = stack_items(items, windows)
    window = batch.window
    history = model.readout.history(window)
    scores = model.readout.similarity(history, window.text, window.text_padding[:, None]).float()
    entropy = F.binary_cross_entropy_with_logits(scores, batch.scores, reduction="none")
    # The newest frame is the one that is answered: it weighs as much as all others together.
    importance = torch.ones(scores.shape[1])
    importance[-1] = max(1, scores.shape[1] - 1)
    importance = importance / importance.sum()
    newest, references = history[:, -1], window.references[:, -1]
    positive = batch.scores[:, -1] > 0
    boxes = model.readout.boxes(newest, references)
    assignment = assign(boxes, batch.boxes, batch.valid)
    chosen = Assignment(
        assignment.best,
        assignment.positive & positive,
        assignment.target,
        assignment.score,
        assignment.spare,
    )
    return {
        "score": (entropy.sum((0, 2)) * importance).sum() / len(items),
        "pick": pick_loss(scores[:, -1], positive),
        "displacement": 4 * displacement_loss(head, newest, window.references),
        "box": 0.5 * box_loss(boxes, batch.boxes, chosen),
        "masks": 0.5 * keyframe_mask_loss(model, items, windows, batch, newest),
    }


def keyframe_mask_loss(
    model: ReferDINO,
    items: Sequence[GroundedClip],
    windows: Sequence[np.ndarray],
    batch: WindowBatch,
    newest: Tensor,
) -> Tensor:
    """Mask loss of the windows that end at a keyframe with the target in view."""
    target, window = batch.scores[:, -1], batch.window
    rows, features, truths = [], [], []
    for row, (item, frames) in enumerate(zip(items, windows, strict=True)):
        places = (item.keyframes == frames[-1]).nonzero().flatten().tolist()
        if places and target[row].max() > 0:
            rows.append(row)
            features.append(item.mask_features[places[0]].float())
            truths.append(item.masks[places[0]])
    if not rows:
        return newest.sum() * 0
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
    return mask_loss(decode_masks(chosen[:, None], stacked)[:, 0], torch.stack(truths))
