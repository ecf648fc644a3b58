# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sine embeddings of pixel positions, boxes, token positions and ages."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_embedding(values: Tensor, features: int, temperature: float) -> Tensor:
    """Sines on even and cosines on odd features of each value.

    Args:
        values: (...) angles in radians, i.e. already times 2 pi where they are normalised.
        features: length of the embedding, even.
        temperature: ratio of the longest to the shortest wavelength.

    Returns:
        (..., features) float32 in [-1, 1].
    """
    exponents = torch.arange(features // 2, device=values.device, dtype=torch.float32)
    angles = values.float()[..., None] / temperature ** (2 * exponents / features)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


def image_position_embedding(padding: Tensor, width: int, temperature: float = 20.0) -> Tensor:
    """Position of every cell in the non-padded part of the image, y half first.

    Args:
        padding: (N, h, w) bool, True on padding.
        width: features of the result; half of them per axis.

    Returns:
        (N, h, w, width) float32.
    """
    inside = (~padding).float()
    rows, columns = inside.cumsum(1), inside.cumsum(2)
    rows = rows / (rows[:, -1:, :] + 1e-6) * (2 * math.pi)
    columns = columns / (columns[:, :, -1:] + 1e-6) * (2 * math.pi)
    return torch.cat(
        [sine_embedding(axis, width // 2, temperature) for axis in (rows, columns)], dim=-1
    )


def box_position_embedding(boxes: Tensor, width: int) -> Tensor:
    """Embedding of boxes for the reference-point head, in the order y, x, w, h.

    Args:
        boxes: (..., 4) centre x, centre y, width, height in [0, 1].
        width: the model's width d; every coordinate takes d / 2 features.

    Returns:
        (..., 2 d) float32.
    """
    x, y, size = boxes.split([1, 1, 2], dim=-1)
    coordinates = torch.cat((y, x, size), dim=-1) * (2 * math.pi)
    return sine_embedding(coordinates, width // 2, 10000.0).flatten(-2)


def inverse_sigmoid(probabilities: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Logits of probabilities that are clamped `epsilon` away from 0 and 1."""
    probabilities = probabilities.clamp(0, 1)
    return torch.log(probabilities.clamp(min=epsilon) / (1 - probabilities).clamp(min=epsilon))
