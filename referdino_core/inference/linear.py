# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers and feed-forward networks for CPUs: weights laid out once, work sized to caches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from referdino_core.network.layers import FeedForward
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward

Activation = Literal["none", "relu", "gelu"]

HIDDEN_AT_ONCE = 2**20
"""Numbers between the layers of a feed-forward network that are worked on together."""

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": partial(nn.ReLU, inplace=True),
    "gelu": nn.GELU,
}


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


class BlockwiseFeedForward(nn.Module):
    """A feed-forward network, some tokens at a time, so that what is between its layers stays in
    the processor's cache.

    Args:
        first, second: the layers. activation: between them.
        precision: bfloat16 packs the layers.
    """

    def __init__(
        self, first: nn.Linear, second: nn.Linear, activation: Activation, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.tokens_at_once = max(1, HIDDEN_AT_ONCE // first.out_features)
        self.first: nn.Module
        self.second: nn.Module
        if precision is torch.bfloat16 and can_pack():
            self.first, self.second = PackedLinear(first, activation), PackedLinear(second)
        else:
            self.first = nn.Sequential(first, _ACTIVATIONS[activation]())
            self.second = second

    def forward(self, features: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        tokens = features.flatten(0, -2)
        if len(tokens) <= self.tokens_at_once:
            return self.second(self.first(features))
        parts = [self.second(self.first(part)) for part in tokens.split(self.tokens_at_once)]
        return torch.cat(parts).view(features.shape)


def blockwise(block: FeedForward, precision: torch.dtype) -> BlockwiseFeedForward:
    """A transformer's feed-forward network."""
    return BlockwiseFeedForward(block.linear1, block.linear2, "relu", precision)


def blockwise_swin(block: SwinFeedForward, precision: torch.dtype) -> BlockwiseFeedForward:
    """Swin's feed-forward network."""
    return BlockwiseFeedForward(block.fc1, block.fc2, "gelu", precision)
