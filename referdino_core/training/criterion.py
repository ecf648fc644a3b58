# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The training losses: focal classification, boxes and masks, on every supervised layer.

Source: the network's specification, section Training. The normalisation reproduces the recorded
losses of the reference: each term is a sum, divided by the number N of frames in the whole batch
that show their target (at least 1).

| term           | summed over                                                                  |
|----------------|------------------------------------------------------------------------------|
| classification | every frame and query; positive is the matched query in frames with a target |
| l1, giou       | every frame of the matched query, also those without a target (a zero box)   |
| mask           | clips; per clip the mean over all its frames and pixels                      |
| dice           | clips; per clip one dice over all its frames and pixels                      |
| projection     | clips; per clip the mean of the dice of row and of column maxima             |

Recorded results exist for a single clip; counting N over the batch rather than per clip is our
choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from referdino_core.boxes import centre_to_corners, generalised_iou
from referdino_core.network.predictions import ClipOutputs, ClipPrediction
from referdino_core.training.contrastive import contrastive_loss
from referdino_core.training.loss_terms import dice_distance, focal_terms
from referdino_core.training.loss_weights import LossWeights
from referdino_core.training.matcher import match_clip
from referdino_core.training.targets import ClipGroundTruth, sample_masks


class BoxLosses(NamedTuple):
    """Box losses: scalar sums of absolute differences and of 1 - GIoU, over the normaliser."""

    l1: Tensor
    giou: Tensor


class MaskLosses(NamedTuple):
    """Mask losses: scalar focal, dice and projection loss, over the normaliser."""

    mask: Tensor
    dice: Tensor
    projection: Tensor


@dataclass(frozen=True)
class LayerLosses:
    """The six unweighted loss terms of one layer, as scalars."""

    classification: Tensor
    l1: Tensor
    giou: Tensor
    mask: Tensor
    dice: Tensor
    projection: Tensor

    def weighted_sum(self, weights: LossWeights) -> Tensor:
        """The layer's contribution to the total loss."""
        terms = [getattr(self, term.name) * getattr(weights, term.name) for term in fields(self)]
        return torch.stack(terms).sum()


@dataclass(frozen=True)
class TrainingLosses:
    """Losses of a batch of clips.

    Attributes:
        layers: terms by layer: `final`, `decoder_0` …, `proposals`, as in `ClipOutputs.layers`.
        matched: by layer, the positive query of each clip; None where the target is absent.
        total: weighted sum over all terms of all layers, the scalar to minimise.
        contrastive: unweighted contrastive loss; None where it has no weight.
    """

    layers: dict[str, LayerLosses]
    matched: dict[str, tuple[int | None, ...]]
    total: Tensor
    contrastive: Tensor | None = None


def focal_classification_loss(scores: Tensor, positive: Tensor, normaliser: float) -> Tensor:
    """Focal loss of every score, summed and divided by the normaliser.

    Args:
        scores: logits of any shape.
        positive: bool of the same shape, True for the query that the sentence refers to.
        normaliser: more than 0.
    """
    if_positive, if_negative = focal_terms(scores.float())
    return torch.where(positive, if_positive, if_negative).sum() / normaliser


def box_losses(boxes: Tensor, true_boxes: Tensor, normaliser: float) -> BoxLosses:
    """L1 and generalised IoU losses of matched boxes, summed and divided by the normaliser.

    Args:
        boxes: (..., 4) centre x, centre y, width, height, 0 to 1.
        true_boxes: the same shape and form.
        normaliser: more than 0.
    """
    boxes, true_boxes = boxes.float(), true_boxes.float()
    overlap = generalised_iou(centre_to_corners(boxes), centre_to_corners(true_boxes))
    return BoxLosses(
        (boxes - true_boxes).abs().sum() / normaliser, (1 - overlap).sum() / normaliser
    )


def mask_losses(masks: Tensor, true_masks: Tensor, normaliser: float) -> MaskLosses:
    """Focal, dice and projection losses of matched tracks, summed and divided by the normaliser.

    Args:
        masks: (N, T, h, w) logits of N tracks; every term is taken over a track's frames at once,
            so give objects of single frames as (N, 1, h, w).
        true_masks: (N, T, h, w) float 0 or 1, see `sample_masks`.
        normaliser: more than 0.
    """
    masks = masks.float()
    if_positive, if_negative = focal_terms(masks)
    focal = true_masks * if_positive + (1 - true_masks) * if_negative
    probability = masks.sigmoid()
    rows, columns = (
        _dice_loss(probability.amax(dim=axis), true_masks.amax(dim=axis)) for axis in (-1, -2)
    )
    return MaskLosses(
        mask=focal.flatten(1).mean(dim=1).sum() / normaliser,
        dice=_dice_loss(probability, true_masks) / normaliser,
        projection=(rows + columns) / 2 / normaliser,
    )


def _dice_loss(probability: Tensor, truth: Tensor) -> Tensor:
    """Sum of the dice distances of N tracks (N, …)."""
    probability, truth = probability.flatten(1), truth.flatten(1)
    return dice_distance(
        (probability * truth).sum(dim=1), probability.sum(dim=1), truth.sum(dim=1)
    ).sum()


def clip_losses(
    outputs: Sequence[ClipOutputs],
    truths: Sequence[ClipGroundTruth | None],
    weights: LossWeights,
    contrastive_weight: float = 0.0,
) -> TrainingLosses:
    """Match every layer of every clip separately, and compute all losses.

    In a clip whose ground truth is None, or never shows its object, the sentence matches nothing:
    all queries are negatives, and there are no box and mask losses.

    Args:
        outputs: one entry per clip, all with the same number of decoder layers.
        truths: one entry per clip.
        weights: weights of the losses and of the matching costs.
        contrastive_weight: of `video_contrastive_loss`; 0 leaves it out.

    Raises:
        ValueError: the batch is empty, or outputs and truths differ in number.
    """
    if not outputs or len(outputs) != len(truths):
        raise ValueError(f"There are {len(outputs)} clips, but {len(truths)} ground truths.")
    shown = [truth if truth is not None and truth.present else None for truth in truths]
    normaliser = float(max(1, sum(int(truth.valid.sum()) for truth in shown if truth is not None)))
    layers, matched = {}, {}
    for name in outputs[0].layers:
        pairs = [(clip.layers[name], truth) for clip, truth in zip(outputs, shown, strict=True)]
        matched[name] = tuple(
            None if truth is None else match_clip(prediction, truth, weights)
            for prediction, truth in pairs
        )
        terms = [
            _absent_losses(prediction, normaliser)
            if truth is None or query is None
            else _matched_losses(prediction, truth, query, normaliser)
            for (prediction, truth), query in zip(pairs, matched[name], strict=True)
        ]
        layers[name] = _sum_losses(terms)
    total = torch.stack([layer.weighted_sum(weights) for layer in layers.values()]).sum()
    if not contrastive_weight:
        return TrainingLosses(layers, matched, total)
    contrastive = video_contrastive_loss(outputs, matched["final"])
    return TrainingLosses(layers, matched, total + contrastive_weight * contrastive, contrastive)


def video_contrastive_loss(outputs: Sequence[ClipOutputs], matched: Sequence[int | None]) -> Tensor:
    """SOC's `contrastive_loss` of the final layer's slots and the sentence, over whole clips.

    The paper's losses have no such term. Clips without a matched slot do not count; the mean is
    over the others, 0 if there are none.

    Args:
        outputs: with video features. matched: the final layer's slot of each clip.
    """
    losses = [
        contrastive_loss(
            clip.video.queries[None].float(),
            clip.video.sentence[None].float(),
            torch.tensor([slot], device=clip.video.queries.device),
        )
        for clip, slot in zip(outputs, matched, strict=True)
        if slot is not None and clip.video is not None
    ]
    if not losses:
        return outputs[0].final.scores.sum() * 0
    return torch.stack(losses).mean()


def _matched_losses(
    prediction: ClipPrediction, truth: ClipGroundTruth, query: int, normaliser: float
) -> LayerLosses:
    """Loss terms of one layer of one clip, given its positive query."""
    positive = torch.zeros_like(prediction.scores, dtype=torch.bool)
    positive[:, query] = truth.valid
    true_masks = sample_masks(truth.masks, *prediction.masks.shape[-2:])
    return LayerLosses(
        focal_classification_loss(prediction.scores, positive, normaliser),
        *box_losses(prediction.boxes[:, query], truth.boxes, normaliser),
        *mask_losses(prediction.masks[None, :, query], true_masks[None], normaliser),
    )


def _absent_losses(prediction: ClipPrediction, normaliser: float) -> LayerLosses:
    """Loss terms of one layer of a clip without a target."""
    scores = prediction.scores
    negative = torch.zeros_like(scores, dtype=torch.bool)
    nothing = torch.zeros((), dtype=torch.float32, device=scores.device)
    return LayerLosses(
        focal_classification_loss(scores, negative, normaliser),
        *BoxLosses(nothing, nothing),
        *MaskLosses(nothing, nothing, nothing),
    )


def _sum_losses(clips: list[LayerLosses]) -> LayerLosses:
    """Sum of the loss terms over the clips of a batch."""
    names = [term.name for term in fields(LayerLosses)]
    return LayerLosses(
        **{name: torch.stack([getattr(clip, name) for clip in clips]).sum() for name in names}
    )
