# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Class indices of object attributes, and the object that every image token shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.training.recorded_world import ObjectAttributes
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
    """Object of every token of all levels, (N, S) int64; `segmentation` is (N, H, W) int64."""
    return torch.cat(
        [
            F.interpolate(segmentation[:, None].float(), size=shape).flatten(1).long()
            for shape in spatial_shapes
        ],
        dim=1,
    )
