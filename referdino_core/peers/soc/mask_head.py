# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Dynamic mask head: each query predicts the weights of a small network over mask features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.network.image_geometry import pixel_indices
from referdino_core.network.layers import MultilayerPerceptron

STRIDE = 4


class DynamicMaskHead(nn.Module):
    """Conditional convolutions: three 1x1 layers per query over mask features and offsets."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.shapes = ((channels, channels + 2), (channels, channels), (1, channels))
        numbers = sum(outputs * inputs + outputs for outputs, inputs in self.shapes)
        self.controller = MultilayerPerceptron((width, width, width, numbers))

    def forward(self, queries: Tensor, centres: Tensor, features: Tensor, sizes: Tensor) -> Tensor:
        """Mask logits.

        Args:
            queries: (N, Q, d).
            centres: (N, Q, 2) x, y of the boxes' centres, in [0, 1] of the non-padded frame.
            features: (N, channels, h, w) mask features at stride 4.
            sizes: (N, 2) width and height of the non-padded frames in pixels.

        Returns:
            (N, Q, h, w).
        """
        weights, biases = self.layers(queries)
        height, width = features.shape[-2:]
        places = pixel_indices(height, width, features.device) * STRIDE + STRIDE // 2
        # In pixels, not normalised: the released weights expect it.
        offsets = (centres * sizes[:, None])[..., None] - places.transpose(1, 2)[:, None]
        own, shared = weights[0][..., -2:], weights[0][..., :-2]
        hidden = shared @ features.flatten(2)[:, None] + own @ offsets + biases[0]
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            hidden = weight @ F.relu(hidden) + bias
        return hidden.squeeze(2).unflatten(-1, (height, width))

    def layers(self, queries: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Weights (N, Q, outputs, inputs) and biases (N, Q, outputs, 1) of the three layers."""
        sizes = [outputs * inputs for outputs, inputs in self.shapes]
        sizes += [outputs for outputs, _ in self.shapes]
        *numbers, first, second, third = torch.split(self.controller(queries), sizes, dim=-1)
        weights = [
            number.unflatten(-1, shape) for number, shape in zip(numbers, self.shapes, strict=True)
        ]
        return weights, [bias[..., None] for bias in (first, second, third)]
