# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Fourth training stage: the readout learns motion from grounded clips."""

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
from referdino_core.network.temporal_decoder import mean_token
from referdino_core.training.batches import on_device
from referdino_core.training.contrastive import contrastive_loss
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
"""Components of a displacement: to the right, down, and its length."""
HOP = 0.12
"""Displacement between frames, as a fraction of the image, from which a slot changed its object."""


@dataclass(frozen=True)
class WindowBatch:
    """N windows of T frames each, with their ground truth.

    Attributes:
        window: input of the readout.
        scores: (N, T, Q) target scores: the overlap of a slot that covers the target, or 0.
        boxes: (N, 1, 4) ground truth at the newest frame.
        valid: (N, 1) bool, whether the target is visible.
    """

    window: Window
    scores: Tensor
    boxes: Tensor
    valid: Tensor


def draw_windows(items: Sequence[GroundedClip], generator: np.random.Generator) -> list[np.ndarray]:
    """Frame indices of one random window per item, oldest first, all of the same length.

    Lengths are as frequent as in a stream of the clip. Half of the windows end at a keyframe if
    possible; half of them skip frames.
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
    """Extract the windows from the items and stack them to a batch; texts are padded."""
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
    """Loss of predicting each slot's displacement over its window from the newest frame.

    Few sentences are about motion, and from these alone the temporal decoder overfits to the clips.
    This auxiliary task trains every slot, whatever the sentence. It includes the length of the
    displacement, without which "moving" and "still" are hardly learnt.

    Args:
        head: linear layer from d to `DISPLACEMENTS`, which is discarded after the stage.
        newest: (N, Q, d) history at the newest frame.
        references: (N, T, Q, 4) boxes.
    """
    centres = references[..., :2]
    steady = (centres.diff(dim=1).abs().amax(-1) < HOP).all(1)
    if references.shape[1] == 1 or not steady.any():
        return newest.sum() * 0
    # Objects move by about an eighth of the image in a window.
    moved = 8 * (centres[:, -1] - centres[:, 0])[steady]
    wanted = torch.cat((moved, torch.linalg.vector_norm(moved, dim=-1, keepdim=True)), dim=-1)
    return F.smooth_l1_loss(head(newest).float()[steady], wanted, beta=0.2)


def temporal_losses(
    model: ReferDINO,
    head: nn.Linear,
    items: Sequence[GroundedClip],
    generator: np.random.Generator,
    contrastive_weight: float = 0.0,
) -> dict[str, Tensor]:
    """Losses of one window per item, by name; for `head` see `displacement_loss`.

    With a `contrastive_weight` there is SOC's contrastive loss, see `window_contrastive_loss`.

    Scores are trained with plain cross-entropy, so that they are calibrated probabilities, on which
    the thresholds of the stream rely.
    """
    windows = draw_windows(items, generator)
    batch = on_device(stack_items(items, windows), model.device)
    window = batch.window
    history = model.readout.history(window)
    scores = model.readout.similarity(history, window.text, window.text_padding[:, None]).float()
    entropy = F.binary_cross_entropy_with_logits(scores, batch.scores, reduction="none")
    # Results are read at the newest frame: it weighs as much as all others together.
    importance = torch.ones(scores.shape[1], device=scores.device)
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
    losses = {
        "score": (entropy.sum((0, 2)) * importance).sum() / len(items),
        "pick": pick_loss(scores[:, -1], positive),
        "displacement": 4 * displacement_loss(head, newest, window.references),
        "box": 0.5 * box_loss(boxes, batch.boxes, chosen),
        "masks": 0.5 * keyframe_mask_loss(model, items, windows, batch, newest),
    }
    if contrastive_weight:
        losses["contrastive"] = contrastive_weight * window_contrastive_loss(history, batch)
    return losses


def window_contrastive_loss(history: Tensor, batch: WindowBatch) -> Tensor:
    """SOC's `contrastive_loss` of the slots and the sentence, each a mean over the window.

    Matched is the slot that covers the target best in the newest frame; windows without one do not
    count.

    Args:
        history: (N, T, Q, d) queries after the temporal decoder.
    """
    shown = batch.scores[:, -1].amax(1) > 0
    if not shown.any():
        return history.sum() * 0
    window = batch.window
    sentences = mean_token(window.text, window.text_padding).mean(1)
    best = batch.scores[shown, -1].argmax(1)
    return contrastive_loss(history[shown].mean(1).float(), sentences[shown].float(), best)


def keyframe_mask_loss(
    model: ReferDINO,
    items: Sequence[GroundedClip],
    windows: Sequence[np.ndarray],
    batch: WindowBatch,
    newest: Tensor,
) -> Tensor:
    """Mask loss of the windows that end at a keyframe with a visible target."""
    target, window = batch.scores[:, -1], batch.window
    rows, features, truths = [], [], []
    for row, (item, frames) in enumerate(zip(items, windows, strict=True)):
        found = (item.keyframes == frames[-1]).nonzero().flatten().tolist()
        if found and target[row].max() > 0:
            rows.append(row)
            features.append(item.mask_features[found[0]].float())
            truths.append(item.masks[found[0]])
    if not rows:
        return newest.sum() * 0
    device = newest.device
    stacked, truth = torch.stack(features).to(device), torch.stack(truths).to(device)
    kept = torch.tensor(rows, device=device)
    embeddings = model.readout.mask_embeddings(
        newest[kept],
        window.references[kept, -1],
        window.text[kept, -1],
        window.text_padding[kept],
        MaskFeatures(stacked, None, torch.ones(len(rows), 2, device=device)),
    )
    best = target[kept].argmax(1)
    chosen = embeddings[torch.arange(len(rows), device=device), best]
    return mask_loss(decode_masks(chosen[:, None], stacked)[:, 0], truth)
