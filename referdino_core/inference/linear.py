# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers in bfloat16 with weights laid out once for the CPU's matrix instructions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from referdino_core.network.layers import FeedForward
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward

Activation = Literal["none", "relu", "gelu"]


def can_pack() -> bool:
    """Whether this PyTorch has oneDNN's packed linear layers."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class PackedLinear(nn.Module):
    """A bfloat16 linear layer and the activation that follows it, as one oneDNN primitive.

    Args:
        linear: float32 or bfloat16; its weight is repacked, the layer itself is not kept.
        activation: applied to the result.
    """

    def __init__(self, linear: nn.Linear, activation: Activation = "none") -> None:
        super().__init__()
        self.activation = activation
        # GELU takes the variant's name ("none": exact) where others take nothing.
        self.variant = "none" if activation == "gelu" else ""
        weight = linear.weight.detach().bfloat16()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.bias = None if linear.bias is None else linear.bias.detach().bfloat16()

    def forward(self, features: Tensor) -> Tensor:
        """(..., in) bfloat16 to (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(
            features, self.weight, self.bias, self.activation, [], self.variant
        )


class PackedFeedForward(nn.Module):
    """A feed-forward network of two packed layers, the activation inside the first."""

    def __init__(self, first: nn.Linear, second: nn.Linear, activation: Activation) -> None:
        super().__init__()
        self.first = PackedLinear(first, activation)
        self.second = PackedLinear(second)

    def forward(self, features: Tensor) -> Tensor:
        """(..., width) bfloat16 to (..., width)."""
        return self.second(self.first(features))


def pack_feed_forward(block: FeedForward) -> PackedFeedForward:
    """A transformer's feed-forward network."""
    return PackedFeedForward(block.linear1, block.linear2, "relu")


def pack_swin_feed_forward(block: SwinFeedForward) -> PackedFeedForward:
    """Swin's feed-forward network."""
    return PackedFeedForward(block.fc1, block.fc2, "gelu")
