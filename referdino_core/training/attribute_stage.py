# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""First training stage: the image encoder learns the attributes that every token shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.boxes import boxes_of_masks
from referdino_core.network.image_encoder import ImageEncoder
from referdino_core.network.pixels import normalise
from referdino_core.training.attributes import (
    ATTRIBUTES,
    BACKGROUND,
    attribute_indices,
    token_labels,
)
from referdino_core.training.batches import augmented, on_device
from referdino_core.training.recorded_world import World
from referdino_core.training.supervision import score_loss

# Colours are learnt at once; shapes take most of the stage.
WEIGHTS = {"shape": 2.0, "colour": 1.0, "size": 1.0}


@dataclass(frozen=True)
class AttributeBatch:
    """Images with the objects of their pixels.

    Attributes:
        pixels: (N, 3, H, W) float32, normalised.
        segmentation: (N, H, W) int64, 0 background, k for the k-th object.
        attributes: (N, K + 1, 3) int64 indices into `ATTRIBUTES`, -1 for missing objects.
        boxes: (N, K + 1, 4) centre x, y, width, height in [0, 1].
    """

    pixels: Tensor
    segmentation: Tensor
    attributes: Tensor
    boxes: Tensor


class AttributeHeads(nn.Module):
    """Linear heads on every image token, which are discarded after the stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.objectness = nn.Linear(width, 1)
        self.box = nn.Linear(width, 4)
        self.attributes = nn.ModuleDict(
            {name: nn.Linear(width, len(values)) for name, values in ATTRIBUTES.items()}
        )
        nn.init.constant_(self.objectness.bias, -3.0)


def draw_attributes(world: World, images: int, generator: np.random.Generator) -> AttributeBatch:
    """Random frames of random clips, mirrored half of the time."""
    pixels, segmentations, rows = [], [], []
    for _ in range(images):
        clip = world[int(generator.integers(len(world)))]
        moment = int(generator.integers(len(clip.frames)))
        step = -1 if generator.random() < 0.5 else 1
        pixels.append(augmented(clip.frames[moment][:, ::step], generator))
        segmentations.append(clip.segmentation[moment][:, ::step].astype(np.int64))
        rows.append(clip.objects)
    segmentation = torch.from_numpy(np.stack(segmentations))
    most = max(len(row) for row in rows)
    numbers = torch.arange(most + 1)[None, :, None, None]
    return AttributeBatch(
        pixels=normalise(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()),
        segmentation=segmentation,
        attributes=torch.stack([attribute_indices(row, most) for row in rows]),
        boxes=boxes_of_masks(segmentation[:, None] == numbers),
    )


def attribute_losses(
    encoder: ImageEncoder, heads: AttributeHeads, batch: AttributeBatch
) -> dict[str, Tensor]:
    """Losses of every image token by name."""
    batch = on_device(batch, next(encoder.parameters()).device)
    image = encoder(batch.pixels)
    tokens = image.tokens
    labels = token_labels(batch.segmentation, image.geometry.spatial_shapes)
    inside = (labels > 0).float()
    losses = {
        "objectness": 2
        * score_loss(heads.objectness(tokens)[..., 0], inside, inside.sum().clamp(min=1.0))
    }
    truth = batch.attributes.gather(1, labels[..., None].expand(-1, -1, len(ATTRIBUTES)))
    for column, (name, head) in enumerate(heads.attributes.items()):
        losses[name] = WEIGHTS[name] * F.cross_entropy(
            head(tokens).flatten(0, 1), truth[..., column].flatten(), ignore_index=BACKGROUND
        )
    boxes = batch.boxes.gather(1, labels[..., None].expand(-1, -1, 4))
    distance = (heads.box(tokens).sigmoid() - boxes).abs().sum(-1)
    losses["box"] = 5 * (distance * inside).sum() / inside.sum().clamp(min=1.0)
    return losses
