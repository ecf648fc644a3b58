# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Axis-aligned boxes: conversions and generalised intersection over union."""

from __future__ import annotations

import torch
from torch import Tensor

AREA_EPSILON = 1e-6


def centre_to_corners(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) from centre x, y, width, height to left, top, right, bottom."""
    centre, size = boxes.split(2, dim=-1)
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Tightest box around the set pixels of each mask.

    Args:
        masks: (..., H, W) bool.

    Returns:
        (..., 4) float32 centre x, centre y, width, height, 0 to 1 of the mask's size; zeros for an
        empty mask.
    """
    low_x, high_x = _extent(masks.any(dim=-2))
    low_y, high_y = _extent(masks.any(dim=-1))
    return torch.stack(
        ((low_x + high_x) / 2, (low_y + high_y) / 2, high_x - low_x, high_y - low_y), dim=-1
    )


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Start of the first set pixel and end of the last one along an axis, 0 to 1; 0 if none is."""
    length = occupied.shape[-1]
    flags = occupied.to(torch.uint8)
    first = flags.argmax(dim=-1)
    end = length - flags.flip(-1).argmax(dim=-1)
    some = occupied.any(dim=-1)
    return first * some / length, end * some / length


def generalised_iou(first: Tensor, second: Tensor, numerator_epsilon: float = 0.0) -> Tensor:
    """Generalised intersection over union of boxes, -1 to 1, as in training the released weights.

    GIoU = I / (U + e) - (C - U) / (C + e), with I the intersection, U the union, C the smallest
    box around both and e = 1e-6. The epsilons make it finite for boxes without area; for two such
    boxes at the same position it is 0, not 1.

    Args:
        first, second: (..., 4) left, top, right, bottom that broadcast against each other.
        numerator_epsilon: added to I and to C - U; SOC's losses add e there too.

    Returns:
        (...) of the broadcast shape.
    """
    inner = (
        torch.minimum(first[..., 2:], second[..., 2:])
        - torch.maximum(first[..., :2], second[..., :2])
    ).clamp(min=0)
    outer = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(
        first[..., :2], second[..., :2]
    )
    intersection = inner.prod(dim=-1)
    enclosing = outer.prod(dim=-1)
    union = _area(first) + _area(second) - intersection
    overlap = (intersection + numerator_epsilon) / (union + AREA_EPSILON)
    return overlap - (enclosing - union + numerator_epsilon) / (enclosing + AREA_EPSILON)


def _area(corners: Tensor) -> Tensor:
    return (corners[..., 2:] - corners[..., :2]).prod(dim=-1)
