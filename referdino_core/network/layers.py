# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Small layers that several blocks of the network share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultilayerPerceptron(nn.Module):
    """Linear layers with ReLU between them; `sizes` holds input, hidden and output widths."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))

    def forward(self, features: Tensor) -> Tensor:
        """(..., sizes[0]) to (..., sizes[-1])."""
        for layer in self.layers[:-1]:
            features = F.relu(layer(features))
        return self.layers[-1](features)


class FeedForward(nn.Module):
    """Feed-forward network of a transformer layer: two linear layers with ReLU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        return self.linear2(F.relu(self.linear1(features)))


class ResidualNorm(nn.Module):
    """LayerNorm of the sum of features and their update, at the end of a post-norm block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = 1e-5

    def forward(self, features: Tensor, update: Tensor) -> Tensor:
        """(..., width) features and update to the same shape."""
        return F.layer_norm(features + update, self.weight.shape, self.weight, self.bias, self.eps)


def group_count(channels: int, most: int = 8) -> int:
    """Number of groups for a GroupNorm: `most`, or fewer to have two channels per group."""
    return max(1, min(most, channels // 2))
