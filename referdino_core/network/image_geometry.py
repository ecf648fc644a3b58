# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Geometry of an image's tokens: positions, sampling references and proposal boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.network.position_encoding import image_position_embedding

Shape = tuple[int, int]


@dataclass(frozen=True)
class ImageGeometry:
    """Everything that depends only on image size and padding; N = 1 stands for all images.

    Attributes:
        spatial_shapes: (height, width) of every level, finest first; S tokens in total.
        positions: (N, S, d) position plus level embedding.
        centres: (N, S, levels, 2) centre of every token, in [0, 1] of each level's padded extent.
        proposals: (N, S, 4) logits of every token's proposal box; infinite where not usable.
        usable: (N, S) bool, whether the token may propose a box.
        valid_ratios: (N, levels, 2) non-padded fraction of width and height.
        finest_valid_ratio: (N, 2) the same at stride 4.
        padding: (N, S) bool, True on padding; None without padding.
        finest_padding: (N, h, w) bool at stride 4; None without padding.
    """

    spatial_shapes: tuple[Shape, ...]
    positions: Tensor
    centres: Tensor
    proposals: Tensor
    usable: Tensor
    valid_ratios: Tensor
    finest_valid_ratio: Tensor
    padding: Tensor | None
    finest_padding: Tensor | None

    def repeat_interleave(self, count: int) -> ImageGeometry:
        """The geometry with every image repeated `count` times in a row; unchanged for N = 1."""
        if len(self.positions) == 1:
            return self
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name, value in entries.items():
            if isinstance(value, Tensor):
                entries[name] = value.repeat_interleave(count, dim=0)
        return ImageGeometry(**entries)


def level_shapes(size: Shape, levels: int) -> tuple[tuple[Shape, ...], Shape]:
    """(height, width) of every level, and of the map at stride 4, for images of `size` pixels."""
    finest = (-(-size[0] // 4), -(-size[1] // 4))
    shapes = [finest]
    for _ in range(levels):
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return tuple(shapes[1:]), finest


def image_geometry(
    size: Shape,
    spatial_shapes: Sequence[Shape],
    finest_shape: Shape,
    level_embedding: Tensor,
    padding: Tensor | None = None,
) -> ImageGeometry:
    """Geometry of images of (height, width) `size` in pixels.

    Args:
        size: size of the images with their padding.
        spatial_shapes: (height, width) of every level.
        finest_shape: (height, width) at stride 4.
        level_embedding: (levels, d).
        padding: (N, H, W) bool, True on padding; None for images without padding, with N = 1.
    """
    nothing = torch.zeros(1, *size, dtype=torch.bool, device=level_embedding.device)
    mask = nothing if padding is None else padding
    masks = [resize_padding(mask, shape) for shape in spatial_shapes]
    positions = [
        image_position_embedding(level_mask, level_embedding.shape[1]) + level_embedding[level]
        for level, level_mask in enumerate(masks)
    ]
    finest_mask = resize_padding(mask, finest_shape)
    token_mask = torch.cat([level_mask.flatten(1) for level_mask in masks], dim=1)
    valid_ratios = torch.stack([valid_ratio(level_mask) for level_mask in masks], dim=1)
    proposals, usable = proposal_logits(spatial_shapes, valid_ratios, token_mask)
    return ImageGeometry(
        spatial_shapes=tuple(spatial_shapes),
        positions=torch.cat([position.flatten(1, 2) for position in positions], dim=1),
        centres=token_centres(spatial_shapes, valid_ratios),
        proposals=proposals,
        usable=usable,
        valid_ratios=valid_ratios,
        finest_valid_ratio=valid_ratio(finest_mask),
        padding=None if padding is None else token_mask,
        finest_padding=None if padding is None else finest_mask,
    )


def resize_padding(padding: Tensor, size: Shape) -> Tensor:
    """Nearest-neighbour resampling of an (N, H, W) bool padding mask to `size`."""
    return F.interpolate(padding[:, None].float(), size=tuple(size))[:, 0].bool()


def valid_ratio(padding: Tensor) -> Tensor:
    """Fractions (N, 2) of the width and the height that are not `padding` (N, h, w)."""
    inside = (~padding).float()
    return torch.stack([inside[:, 0, :].mean(1), inside[:, :, 0].mean(1)], dim=-1)


def token_centres(spatial_shapes: Sequence[Shape], valid_ratios: Tensor) -> Tensor:
    """(N, S, levels, 2) centre of every token, in [0, 1] of each level's padded extent."""
    centres = []
    for level, (height, width) in enumerate(spatial_shapes):
        xy = pixel_indices(height, width, valid_ratios.device) + 0.5
        xy = xy / xy.new_tensor([width, height])
        centres.append(xy / valid_ratios[:, level, None])
    return torch.cat(centres, dim=1)[:, :, None] * valid_ratios[:, None]


def proposal_logits(
    spatial_shapes: Sequence[Shape], valid_ratios: Tensor, padding: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits (N, S, 4) of each token's proposal box, and (N, S) bool whether it is usable.

    A proposal is centred on its token, relative to the non-padded size, with sides of
    0.05 x 2^level. Proposals near the border or on padding get infinite logits.
    """
    proposals = []
    for level, (height, width) in enumerate(spatial_shapes):
        indices = pixel_indices(height, width, valid_ratios.device)
        size = indices.new_tensor([width, height]) * valid_ratios[:, level]
        centres = (indices + 0.5) / size[:, None]
        sides = torch.full_like(centres, 0.05 * 2**level)
        proposals.append(torch.cat((centres, sides), dim=-1))
    boxes = torch.cat(proposals, dim=1)
    usable = ((boxes > 0.01) & (boxes < 0.99)).all(-1) & ~padding
    logits = torch.log(boxes / (1 - boxes)).masked_fill(~usable[..., None], torch.inf)
    return logits, usable


def pixel_indices(height: int, width: int, device: torch.device) -> Tensor:
    """(1, height * width, 2) float32 column and row of every pixel of a map, in row-major order."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack((x, y), -1).view(1, -1, 2).float()
