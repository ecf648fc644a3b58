# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Matching and training losses of SOC for every decoder layer.

There is one object per clip. M is the number of frames of all clips, at least 1.

| term           | weight | value                                                            |
|----------------|-------:|------------------------------------------------------------------|
| classification |      2 | focal loss of every frame, query and class, sum / M              |
| l1, giou       |      2 | matched query in every frame, without the object a zero box, / M |
| mask           |      2 | focal loss of the matched mask, mean over pixels, sum / M        |
| dice           |      5 | of the matched mask in every frame, sum / M                      |
| contrastive    |      1 | `contrastive_loss`; not divided by M                             |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.boxes import AREA_EPSILON, centre_to_corners, generalised_iou
from referdino_core.peers.soc.soc import LayerOutputs
from referdino_core.training.contrastive import contrastive_loss
from referdino_core.training.loss_terms import dice_distance, focal_terms
from referdino_core.training.matcher import classification_costs


@dataclass(frozen=True)
class SOCTargets:
    """Ground truth of B clips of T frames, with one object each.

    Attributes:
        masks: (B, T, H, W) bool, at the size of the padded frames; empty where it is not visible.
        boxes: (B, T, 4) centre x, y, width, height, in [0, 1] of the non-padded frame; zeros where
            it is not visible.
        visible: (B, T) bool.
        categories: (B,) int64 class of each object; None if there is only one class.
    """

    masks: Tensor
    boxes: Tensor
    visible: Tensor
    categories: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """(B,) int64 class of each object."""
        if self.categories is not None:
            return self.categories
        return torch.zeros(len(self.masks), dtype=torch.int64, device=self.masks.device)


@dataclass(frozen=True)
class SOCLosses:
    """The six unweighted terms of one layer, scalars, and the matched queries (B,)."""

    classification: Tensor
    l1: Tensor
    giou: Tensor
    mask: Tensor
    dice: Tensor
    contrastive: Tensor
    matched: Tensor

    def weighted_sum(self) -> Tensor:
        """Weighted sum of the terms."""
        terms = [weight * getattr(self, name) for name, weight in SOC_WEIGHTS.items()]
        return torch.stack(terms).sum()


SOC_WEIGHTS = {"classification": 2, "l1": 2, "giou": 2, "mask": 2, "dice": 5, "contrastive": 1}
"""Weights of the losses; matching uses those of classification, l1, giou and dice."""


def soc_losses(
    layers: Sequence[LayerOutputs],
    targets: SOCTargets,
    sentences: Tensor,
    frame_count: float | None = None,
) -> tuple[SOCLosses, ...]:
    """Match every layer and compute its losses; the total is the sum of their weighted sums.

    Args:
        layers: as `SOC.every_layer` returns them.
        targets: of the same clips.
        sentences: (B, d), as `SOC.sentence_of_clip` returns them.
        frame_count: M; by default the number of frames of these clips. With several processes, the
            mean over them.
    """
    normaliser = max(1.0, targets.visible.numel() if frame_count is None else frame_count)
    return tuple(layer_losses(layer, targets, sentences, normaliser) for layer in layers)


def layer_losses(
    outputs: LayerOutputs, targets: SOCTargets, sentences: Tensor, normaliser: float
) -> SOCLosses:
    """Losses of one layer; sums over frames are divided by the normaliser."""
    matched = match_queries(outputs, targets)
    clips = torch.arange(len(matched), device=matched.device)
    positive = torch.zeros_like(outputs.scores, dtype=torch.bool)
    positive[clips, :, matched, targets.classes] = targets.visible
    if_positive, if_negative = focal_terms(outputs.scores.float())
    boxes = outputs.boxes[clips, :, matched].float()
    masks = enlarged(outputs.masks[clips, :, matched], targets)
    focal_of_object, focal_of_rest = focal_terms(masks)
    truth = targets.masks.to(masks.dtype)
    focal = truth * focal_of_object + (1 - truth) * focal_of_rest
    return SOCLosses(
        classification=torch.where(positive, if_positive, if_negative).sum() / normaliser,
        l1=(boxes - targets.boxes).abs().sum() / normaliser,
        giou=(1 - box_overlap(boxes, targets.boxes)).sum() / normaliser,
        mask=focal.flatten(2).mean(2).sum() / normaliser,
        dice=dice_of_frames(masks.sigmoid(), truth).sum() / normaliser,
        contrastive=contrastive_loss(outputs.video_queries, sentences, matched),
        matched=matched,
    )


@torch.no_grad()
def match_queries(outputs: LayerOutputs, targets: SOCTargets) -> Tensor:
    """(B,) int64: the query of each clip with the lowest weighted cost."""
    matched = []
    for clip, category in enumerate(targets.classes.tolist()):
        visible, boxes = targets.visible[clip], targets.boxes[clip, :, None]
        predicted = outputs.boxes[clip].float()
        masks = enlarged(outputs.masks[clip], targets).sigmoid()
        truth = targets.masks[clip, :, None].to(masks.dtype)
        scores = outputs.scores[clip, ..., category]
        cost = (
            SOC_WEIGHTS["classification"] * classification_costs(scores, visible[None])[:, 0]
            + SOC_WEIGHTS["dice"] * dice_of_frames(masks, truth).mean(0)
            + SOC_WEIGHTS["l1"] * (predicted - boxes).abs().sum(-1).mean(0)
            - SOC_WEIGHTS["giou"] * box_overlap(predicted, boxes).mean(0)
        )
        matched.append(cost.argmin())
    return torch.stack(matched)


def enlarged(masks: Tensor, targets: SOCTargets) -> Tensor:
    """Upsample mask logits (N, C, h, w) to the size of the targets, float32."""
    size = tuple(targets.masks.shape[-2:])
    return F.interpolate(masks.float(), size=size, mode="bilinear")


def dice_of_frames(probability: Tensor, truth: Tensor) -> Tensor:
    """(...) dice distances of probabilities and ground truth (..., H, W), which broadcast."""
    areas = (one.flatten(-2).sum(-1) for one in (probability * truth, probability, truth))
    return dice_distance(*areas)


def box_overlap(boxes: Tensor, truth: Tensor) -> Tensor:
    """(...) generalised IoU of boxes (..., 4) in centre form, which broadcast."""
    return generalised_iou(centre_to_corners(boxes), centre_to_corners(truth), AREA_EPSILON)
