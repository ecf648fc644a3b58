# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of single frames in which several objects may fit, batched over sentences.

The terms are those of the criterion; the assignment differs. In the paper one query per clip is
positive. A small network trained from scratch learns faster if every query whose box covers an
object is positive, with the overlap as its target score: the best slot then also ranks first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.boxes import centre_to_corners, generalised_iou
from referdino_core.training.loss_terms import dice_distance

POSITIVE_OVERLAP = 0.5
MIN_TARGET = 0.2
MIN_COVERED = 0.4
"""Minimum fraction of a token's area that its object covers."""
SPARE_WEIGHT = 0.1
"""Weight in the score loss of queries that cover an object but are not positive."""
CENTRAL = 0.36
"""Distance from an object's centre, in sides of its box, within which tokens belong to it."""


@dataclass(frozen=True)
class Assignment:
    """Assignment of queries to objects.

    Attributes:
        best: (N, K) int64, the query with the lowest cost for each object.
        positive: (N, Q) bool. target: (N, Q) int64 object of each positive query.
        score: (N, Q) target score in [0, 1]; 0 for negatives.
        spare: (N, Q) bool, queries that cover an object with enough better queries.
    """

    best: Tensor
    positive: Tensor
    target: Tensor
    score: Tensor
    spare: Tensor


def box_overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union (N, Q, K) of boxes (N, Q, 4) and (N, K, 4) (centre, size)."""
    a, b = centre_to_corners(first)[:, :, None], centre_to_corners(second)[:, None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    shared = sides.prod(-1)
    areas = first[..., 2:].prod(-1)[:, :, None] + second[..., 2:].prod(-1)[:, None]
    return shared / (areas - shared).clamp(min=1e-9)


@torch.no_grad()
def assign(
    boxes: Tensor, true_boxes: Tensor, exists: Tensor, most: int | None = None
) -> Assignment:
    """Assign to each object its best query and the queries with an IoU above 0.5.

    Args:
        boxes: (N, Q, 4) predictions.
        true_boxes: (N, K, 4). exists: (N, K) bool.
        most: maximum number of positive queries per object, the best ones; None for all. With all,
            queries crowd on some objects and others have none.
    """
    overlaps = box_overlaps(boxes, true_boxes).masked_fill(~exists[:, None], 0)
    distance = (boxes[:, :, None] - true_boxes[:, None]).abs().sum(-1)
    best = (2 * (1 - overlaps) + distance).argmin(1)
    overlap, target = overlaps.max(2)
    chosen = torch.zeros_like(overlaps).scatter_(1, best[:, None], 1.0).bool() & exists[:, None]
    target = torch.where(chosen.any(2), chosen.float().argmax(2), target)
    covers = overlap > POSITIVE_OVERLAP
    positive = covers
    if most is not None:
        own = torch.zeros_like(overlaps).scatter_(2, target[..., None], overlap[..., None])
        least = own.topk(min(most, own.shape[1]), dim=1).values[:, -1]
        positive = covers & (overlap >= least.gather(1, target))
    positive = positive | chosen.any(2)
    score = torch.where(positive, overlap.clamp(min=MIN_TARGET), 0.0)
    return Assignment(best, positive, target, score, covers & ~positive)


def score_loss(
    logits: Tensor, target: Tensor, normaliser: Tensor, weights: Tensor | float = 1.0
) -> Tensor:
    """Focal loss towards a target score: cross-entropy weighted by the squared distance.

    Args:
        logits, target: of the same shape.
        normaliser: scalar by which the sum is divided.
        weights: weight of each logit.
    """
    weight = weights * (logits.sigmoid() - target).detach().abs() ** 2
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * entropy).sum() / normaliser


def pick_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross-entropy of choosing any positive query among all queries.

    The score loss gives uncertain queries a low weight, so that a network that fits every object
    equally well improves slowly; this term separates the objects of one image.

    Args:
        logits: (N, Q).
        positive: (N, Q) bool. Rows without positive queries do not count.
    """
    counted = positive.any(1)
    if not counted.any():
        return logits.sum() * 0
    chances = logits[counted].log_softmax(1).masked_fill(~positive[counted], -torch.inf)
    return -chances.logsumexp(1).mean()


def box_loss(boxes: Tensor, true_boxes: Tensor, assignment: Assignment) -> Tensor:
    """Box loss, 5 L1 + 2 (1 - GIoU), averaged over the positive queries."""
    wanted = true_boxes.gather(1, assignment.target[..., None].expand(-1, -1, 4))
    predicted, wanted = boxes[assignment.positive], wanted[assignment.positive]
    overlap = generalised_iou(centre_to_corners(predicted), centre_to_corners(wanted))
    distances = 5 * (predicted - wanted).abs().sum(-1) + 2 * (1 - overlap)
    return distances.sum() / max(len(predicted), 1)


def layer_loss(
    logits: Tensor, boxes: Tensor, true_boxes: Tensor, exists: Tensor, most: int | None = None
) -> Tensor:
    """Score, pick and box loss of one layer's (N, Q) logits and (N, Q, 4) boxes; see `assign`."""
    assignment = assign(boxes, true_boxes, exists, most)
    normaliser = assignment.score.sum().clamp(min=1.0)
    # A dozen queries may cover one object; at full weight they would outweigh the background.
    weights = torch.where(assignment.spare, SPARE_WEIGHT, 1.0)
    return (
        4 * score_loss(logits, assignment.score, normaliser, weights)
        + pick_loss(logits, assignment.positive | assignment.spare)
        + 0.5 * box_loss(boxes, true_boxes, assignment)
    )


def probability_loss(logits: Tensor, boxes: Tensor, true_boxes: Tensor, exists: Tensor) -> Tensor:
    """As `layer_loss`, for scores that are probabilities: plain cross-entropy, without boxes."""
    assignment = assign(boxes, true_boxes, exists)
    entropy = F.binary_cross_entropy_with_logits(logits.float(), assignment.score, reduction="none")
    return entropy.sum() / len(logits) + pick_loss(logits.float(), assignment.positive)


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy and dice loss of (P, h, w) logits at stride 4 and (P, H, W) bool masks.

    Logits are first upsampled to the image, as at inference.
    """
    if not len(logits):
        return logits.sum()
    logits = F.interpolate(logits[:, None], size=truth.shape[-2:], mode="bilinear")[:, 0]
    truth = truth.to(logits.dtype)
    probability = logits.sigmoid().flatten(1)
    area = truth.flatten(1).sum(1)
    overlap = (probability * truth.flatten(1)).sum(1)
    dice = dice_distance(overlap, probability.sum(1), area)
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    # Objects cover a few per cent of the image: normalised by their own area.
    entropy = entropy.flatten(1).sum(1) / (area + 50)
    return (5 * dice + 0.5 * entropy).mean()


def token_loss(
    every_score: Tensor,
    masks: Tensor,
    boxes: Tensor,
    spatial_shapes: tuple[tuple[int, int], ...],
) -> Tensor:
    """Dense supervision of query selection: tokens of the two finest levels at an object's centre.

    Tokens near its border are left out, since a large object would otherwise take all queries. The
    token that an object covers best counts however little that is: an object of a token's size may
    lie across four of them.

    Args:
        every_score: (N, S) logits of all tokens.
        masks: (N, K, H, W) bool. boxes: (N, K, 4) around them.
    """
    targets = []
    for level, shape in enumerate(spatial_shapes):
        if level < 2:
            shares = F.interpolate(masks.float(), size=shape, mode="area")
            distances = centrality(boxes, shape)
            inside = (shares > MIN_COVERED) & (distances < CENTRAL)
            if level == 0:
                inside = inside | best_covered(shares, distances)
            targets.append(inside.any(1).flatten(1).float())
        else:
            targets.append(torch.zeros(len(masks), shape[0] * shape[1], device=masks.device))
    target = torch.cat(targets, dim=1)
    return score_loss(every_score, target, target.sum().clamp(min=1.0)) + pick_loss(
        every_score, target > 0
    )


def best_covered(shares: Tensor, distances: Tensor) -> Tensor:
    """The pixel of a map that each object covers best, (N, K, h, w) bool; the most central of such.

    Args:
        shares: (N, K, h, w) fraction of each pixel that the object covers; an object that covers
            none has no pixel.
        distances: (N, K, h, w) from the object's centre, see `centrality`.
    """
    merit = (shares - 0.1 * distances).flatten(2)
    best = torch.zeros_like(merit).scatter_(2, merit.argmax(2, keepdim=True), 1.0)
    return best.view_as(shares).bool() & (shares > 0)


def centrality(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """Distances (N, K, h, w) of a map's pixels from the centres of boxes (N, K, 4), in box sides.

    Box sides are at least 1.5 pixels of the map, so that small objects have a central pixel.
    """
    height, width = shape
    rows = (torch.arange(height, device=boxes.device) + 0.5) / height
    columns = (torch.arange(width, device=boxes.device) + 0.5) / width
    x, y, w, h = boxes[..., None].unbind(2)
    across = (columns - x) / w.clamp(min=1.5 / width)
    down = (rows - y) / h.clamp(min=1.5 / height)
    return torch.hypot(across[:, :, None, :], down[..., None])
