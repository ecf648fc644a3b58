# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Attributes of objects as numbers, and which object every cell of the image shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.training.recorded_world import ObjectTruth
from referdino_core.world.scene import COLOURS, SHAPES, SIZES

ATTRIBUTES = {"shape": tuple(SHAPES), "colour": tuple(COLOURS), "size": tuple(SIZES)}
BACKGROUND = -1


def attribute_indices(objects: Sequence[ObjectTruth], most: int) -> Tensor:
    """(most + 1, 3) int64 indices of shape, colour and size; row 0 is the background."""
    indices = torch.full((most + 1, len(ATTRIBUTES)), BACKGROUND)
    for row, item in enumerate(objects, start=1):
        for column, (name, values) in enumerate(ATTRIBUTES.items()):
            indices[row, column] = values.index(getattr(item, name))
    return indices


def cell_labels(segmentation: Tensor, spatial_shapes: Sequence[tuple[int, int]]) -> Tensor:
    """(N, S) int64 object of every cell of every level; `segmentation` is (N, H, W) int64."""
    return torch.cat(
        [
            F.interpolate(segmentation[:, None].float(), size=shape).flatten(1).long()
            for shape in spatial_shapes
        ],
        dim=1,
    )
