# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sine embeddings of pixel positions, boxes, token positions and ages."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from referdino_core.ops.sine_embedding import box_embedding, sine_embedding

LOGIT_EPSILON = 1e-3
"""How far from 0 and 1 `inverse_sigmoid` keeps probabilities."""


class SineEmbedding(nn.Module):
    """Sines on even and cosines on odd features of an angle, at wavelengths that grow.

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
        """(...) in radians, i.e. already times 2 pi where normalised, to (..., features)."""
        return sine_embedding(angles.float(), self.wavelengths)


class BoxEmbedding(nn.Module):
    """Embedding of boxes for the reference-point head, in the order y, x, w, h."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coordinates = SineEmbedding(width // 2, 10000.0)

    def forward(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4), centre x, y, width and height in [0, 1], to (..., 2 width) float32."""
        return box_embedding(boxes.float(), self.coordinates.wavelengths)


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
    embedding = SineEmbedding(width // 2, temperature).to(padding.device)
    return torch.cat([embedding(rows), embedding(columns)], dim=-1)


def inverse_sigmoid(probabilities: Tensor, epsilon: float = LOGIT_EPSILON) -> Tensor:
    """Logits of probabilities that are clamped `epsilon` away from 0 and 1."""
    odds = probabilities.clamp(epsilon, 1) / (1 - probabilities).clamp(epsilon, 1)
    return odds.log()
