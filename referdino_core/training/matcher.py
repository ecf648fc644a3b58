# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Matching of queries and objects: one query for a clip, or one for each object of a frame.

All costs are (Q, K), for Q queries and K objects, without gradients. A clip has one object (K = 1);
a frame may have several (T = 1).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from referdino_core.boxes import centre_to_corners, generalised_iou
from referdino_core.network.predictions import ClipPrediction, FramePrediction
from referdino_core.training.loss_terms import (
    FOCAL_ALPHA,
    FOCAL_GAMMA,
    dice_distance,
    focal_terms,
)
from referdino_core.training.loss_weights import LossWeights
from referdino_core.training.targets import ClipGroundTruth, FrameTargets, sample_masks

LOG_EPSILON = 1e-8


class BoxCosts(NamedTuple):
    """Box costs, each (Q, K): L1 distance and 1 - generalised IoU, averaged over the frames."""

    l1: Tensor
    giou: Tensor


class MaskCosts(NamedTuple):
    """Mask costs, each (Q, K): mean focal loss of the pixels, dice, dice of the projections."""

    mask: Tensor
    dice: Tensor
    projection: Tensor


class ObjectMatches(NamedTuple):
    """Matched pairs, each (min(Q, K),) int64: query `queries[i]` matches object `objects[i]`."""

    queries: Tensor
    objects: Tensor


@torch.no_grad()
def classification_costs(scores: Tensor, valid: Tensor) -> Tensor:
    """Change of the focal loss if a query becomes positive, averaged over an object's valid frames.

    Unlike the loss, the cost uses logarithms of float32 probabilities plus 1e-8, which the recorded
    matches of the reference require. For logits beyond about 15 the cost is therefore quantised,
    and it is bounded by 18.5 times alpha or 1 - alpha. This decides the match when a layer is very
    confident about many queries.

    Args:
        scores: (T, Q) logits.
        valid: (K, T) bool, True where the object is in view.

    Returns:
        (Q, K); 0 for an object without a valid frame.
    """
    probability = scores.float().sigmoid()
    absence = 1 - probability
    if_positive = FOCAL_ALPHA * absence**FOCAL_GAMMA * -(probability + LOG_EPSILON).log()
    if_negative = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * -(absence + LOG_EPSILON).log()
    change = (if_positive - if_negative)[:, :, None]
    in_view = valid.T[:, None, :].float()
    return (change * in_view).sum(dim=0) / in_view.sum(dim=0).clamp(min=1)


@torch.no_grad()
def box_costs(boxes: Tensor, true_boxes: Tensor) -> BoxCosts:
    """Distances between predicted and true boxes, averaged over all frames, with target or not.

    Args:
        boxes: (T, Q, 4) centre x, centre y, width, height, 0 to 1.
        true_boxes: (K, T, 4) of the same form.
    """
    predicted = boxes.float()[:, :, None]
    truth = true_boxes.float().transpose(0, 1)[:, None]
    overlap = generalised_iou(centre_to_corners(predicted), centre_to_corners(truth))
    return BoxCosts((predicted - truth).abs().sum(dim=-1).mean(dim=0), (1 - overlap).mean(dim=0))


@torch.no_grad()
def mask_costs(masks: Tensor, true_masks: Tensor) -> MaskCosts:
    """Distances between predicted and true masks, each over all frames and pixels at once.

    Args:
        masks: (T, Q, h, w) logits.
        true_masks: (K, T, h, w) float 0 or 1, see `sample_masks`.
    """
    with torch.autocast(masks.device.type, enabled=False):
        logits = masks.float().transpose(0, 1)
        truth = true_masks.flatten(1)
        if_positive, if_negative = (term.flatten(1) for term in focal_terms(logits))
        focal = if_positive @ truth.T + if_negative @ (1 - truth).T
        probability = logits.sigmoid()
        rows, columns = (
            _pairwise_dice(probability.amax(dim=axis), true_masks.amax(dim=axis))
            for axis in (-1, -2)
        )
        return MaskCosts(
            mask=focal / truth.shape[1],
            dice=_pairwise_dice(probability, true_masks),
            projection=(rows + columns) / 2,
        )


def _pairwise_dice(probability: Tensor, truth: Tensor) -> Tensor:
    """Dice distances (Q, K) of probabilities (Q, …) and ground truth (K, …)."""
    probability, truth = probability.flatten(1), truth.flatten(1)
    return dice_distance(
        probability @ truth.T, probability.sum(dim=1)[:, None], truth.sum(dim=1)[None]
    )


def match_clip(prediction: ClipPrediction, truth: ClipGroundTruth, weights: LossWeights) -> int:
    """The query that matches the object of a clip: the one with the lowest weighted cost.

    Source: the network's specification, section Training.

    Args:
        prediction: one layer's prediction, T frames.
        truth: the object in the same frames, visible in at least one of them.
        weights: weights of the costs.

    Raises:
        ValueError: the object is not visible in any frame.
    """
    if not truth.present:
        raise ValueError("An object that no frame shows cannot be matched.")
    return int(
        _weighted_costs(
            prediction, truth.boxes[None], truth.masks[None], truth.valid[None], weights
        ).argmin()
    )


def match_objects(
    prediction: FramePrediction, truth: FrameTargets, weights: LossWeights
) -> ObjectMatches:
    """One query for each of K objects in a frame, with the lowest total cost as in `match_clip`.

    Args:
        prediction: one layer's prediction for the frame.
        truth: the objects; there may be none.
        weights: weights of the costs.
    """
    clip = ClipPrediction(prediction.scores[None], prediction.boxes[None], prediction.masks[None])
    in_view = torch.ones(len(truth.boxes), 1, dtype=torch.bool, device=truth.boxes.device)
    return assign_queries(
        _weighted_costs(clip, truth.boxes[:, None], truth.masks[:, None], in_view, weights)
    )


def assign_queries(costs: Tensor) -> ObjectMatches:
    """Hungarian assignment of queries to objects, each used at most once.

    Args:
        costs: (Q, K), such as a weighted sum of this module's cost functions.
    """
    queries, objects = linear_sum_assignment(costs.detach().float().cpu().numpy())
    return ObjectMatches(
        torch.as_tensor(queries, dtype=torch.int64, device=costs.device),
        torch.as_tensor(objects, dtype=torch.int64, device=costs.device),
    )


def _weighted_costs(
    prediction: ClipPrediction,
    boxes: Tensor,
    masks: Tensor,
    valid: Tensor,
    weights: LossWeights,
) -> Tensor:
    """Costs (Q, K) of a prediction and K objects with boxes (K, T, 4) and masks (K, T, H, W)."""
    box = box_costs(prediction.boxes, boxes)
    mask = mask_costs(prediction.masks, sample_masks(masks, *prediction.masks.shape[-2:]))
    return (
        weights.classification * classification_costs(prediction.scores, valid)
        + weights.l1 * box.l1
        + weights.giou * box.giou
        + weights.mask * mask.mask
        + weights.dice * mask.dice
        + weights.projection * mask.projection
    )
