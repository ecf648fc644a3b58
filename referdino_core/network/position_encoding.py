# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sine embeddings of pixel positions, boxes, token positions and ages."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOGIT_EPSILON = 1e-3
"""Margin from 0 and 1 to which `inverse_sigmoid` clamps probabilities."""


class SineEmbedding(nn.Module):
    """Sine embedding of angles: sines at even features and cosines at odd ones.

    Args:
        features: length of the embedding, even.
        temperature: ratio of the longest to the shortest wavelength.
    """

    def __init__(self, features: int, temperature: float) -> None:
        super().__init__()
        exponents = torch.arange(features // 2, dtype=torch.float32)
        self.wavelengths: Tensor
        self.register_buffer(
            "wavelengths", temperature ** (2 * exponents / features), persistent=False
        )

    def forward(self, angles: Tensor) -> Tensor:
        """(...) in radians, so normalised positions times 2 pi, to (..., features)."""
        angles = angles.float()[..., None] / self.wavelengths
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


class BoxEmbedding(nn.Module):
    """Embedding of boxes for the reference-point head, in the order y, x, w, h."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coordinates = SineEmbedding(width // 2, 10000.0)

    def forward(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4), centre x, y, width and height in [0, 1], to (..., 2 width) float32."""
        x, y, size = boxes.float().split([1, 1, 2], dim=-1)
        angles = torch.cat((y, x, size), dim=-1) * (2 * math.pi)
        return self.coordinates(angles).flatten(-2)


def image_position_embedding(
    padding: Tensor, width: int, temperature: float = 20.0, offset: float = 0.0
) -> Tensor:
    """Sine embedding of every pixel's position in the non-padded part of a map, y half first.

    Args:
        padding: (N, h, w) bool, True on padding.
        width: features of the result; half of them per axis.
        temperature: ratio of the longest to the shortest wavelength.
        offset: subtracted from pixel indices, which count from 1; 0.5 gives pixel centres.

    Returns:
        (N, h, w, width) float32.
    """
    inside = (~padding).float()
    rows, columns = inside.cumsum(1), inside.cumsum(2)
    rows = (rows - offset) / (rows[:, -1:, :] + 1e-6) * (2 * math.pi)
    columns = (columns - offset) / (columns[:, :, -1:] + 1e-6) * (2 * math.pi)
    embedding = SineEmbedding(width // 2, temperature).to(padding.device)
    return torch.cat([embedding(rows), embedding(columns)], dim=-1)


def inverse_sigmoid(probabilities: Tensor, epsilon: float = LOGIT_EPSILON) -> Tensor:
    """Logits of probabilities, clamped to a margin of `epsilon` from 0 and 1."""
    odds = probabilities.clamp(epsilon, 1) / (1 - probabilities).clamp(epsilon, 1)
    return odds.log()
