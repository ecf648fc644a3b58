# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Class indices of object attributes, and the object that every image token shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.boxes import boxes_of_masks
from referdino_core.training.recorded_world import ObjectAttributes
from referdino_core.training.supervision import best_covered, centrality
from referdino_core.world.scene import COLOURS, SHAPES, SIZES

ATTRIBUTES = {"shape": tuple(SHAPES), "colour": tuple(COLOURS), "size": tuple(SIZES)}
BACKGROUND = -1


def attribute_indices(objects: Sequence[ObjectAttributes], most: int) -> Tensor:
    """Indices of shape, colour and size, (most + 1, 3) int64; row 0 is the background."""
    indices = torch.full((most + 1, len(ATTRIBUTES)), BACKGROUND)
    for row, item in enumerate(objects, start=1):
        for column, (name, values) in enumerate(ATTRIBUTES.items()):
            indices[row, column] = values.index(getattr(item, name))
    return indices


def token_labels(segmentation: Tensor, spatial_shapes: Sequence[tuple[int, int]]) -> Tensor:
    """Object of every token of all levels, (N, S) int64; `segmentation` is (N, H, W) int64.

    It is the object at a token's centre. At the finest level the token that an object covers best
    shows this object in any case, or objects smaller than a token would have none.
    """
    labels = [
        F.interpolate(segmentation[:, None].float(), size=shape, mode="nearest-exact")
        .flatten(1)
        .long()
        for shape in spatial_shapes
    ]
    numbers = torch.arange(1, max(1, int(segmentation.max())) + 1, device=segmentation.device)
    masks = segmentation[:, None] == numbers[:, None, None]
    shares = F.interpolate(masks.float(), size=spatial_shapes[0], mode="area")
    distances = centrality(boxes_of_masks(masks), spatial_shapes[0])
    best = best_covered(shares, distances).flatten(2)
    labels[0] = torch.where(best.any(1), best.int().argmax(1) + 1, labels[0])
    return torch.cat(labels, dim=1)
