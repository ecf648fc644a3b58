# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers and feed-forward networks for CPUs: weights laid out once, work sized to caches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from referdino_core.kernels import FusedKernel, fused_kernel
from referdino_core.kernels.weights import Activation, linear_weights
from referdino_core.network.layers import FeedForward, MultilayerPerceptron, ResidualNorm
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward

HIDDEN_AT_ONCE = 2**20
"""Numbers between the layers of a feed-forward network that are worked on together."""

_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
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

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., in) bfloat16 to (..., out); `added`, (..., out), is added to that."""
        result = torch.ops.mkldnn._linear_pointwise(
            features, self.weight, self.bias, self.activation, [], self.variant
        )
        return result if added is None else added + result


class KernelLinear(nn.Module):
    """A float32 linear layer and the activation that follows it, as one call of the CPU kernel.

    Args:
        weight: (out, in) float32, repacked; bias: (out,), or None.
        activation: applied to the result.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        kernel: FusedKernel,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.activation = activation
        self.out_features = len(weight)
        self.weight = kernel.pack_linear(weight.detach())
        self.bias = None if bias is None else bias.detach().contiguous()
        self.weights = linear_weights(self.weight, self.bias, *weight.shape)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., in) to (..., out); `added`, (..., out), is added to that."""
        return self.kernel.linear(
            features, self.weight, self.bias, self.out_features, added, self.activation
        )


class KernelLayerNorm(nn.Module):
    """`nn.LayerNorm` in float32 through the CPU kernel."""

    def __init__(self, norm: nn.LayerNorm, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight, self.bias, self.epsilon = norm.weight, norm.bias, norm.eps

    def forward(self, features: Tensor) -> Tensor:
        """(..., width) to the same shape."""
        return self.kernel.layer_norm(features, self.weight, self.bias, self.epsilon)


class KernelResidualNorm(nn.Module):
    """`ResidualNorm` in float32 through the CPU kernel."""

    def __init__(self, norm: ResidualNorm, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight, self.bias, self.epsilon = norm.weight, norm.bias, norm.eps

    def forward(self, features: Tensor, update: Tensor) -> Tensor:
        """(..., width), twice, to the same shape."""
        return self.kernel.layer_norm(features, self.weight, self.bias, self.epsilon, update)


class PlainLinear(nn.Module):
    """A linear layer and the activation that follows it, in PyTorch's operators."""

    def __init__(self, linear: nn.Linear, activation: Activation = "none") -> None:
        super().__init__()
        self.linear, self.activation = linear, _ACTIVATIONS[activation]()

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., in) to (..., out); `added`, (..., out), is added to that."""
        result: Tensor = self.activation(self.linear(features))
        return result if added is None else added + result


def fast_linear(linear: nn.Linear, activation: Activation = "none") -> nn.Module:
    """A linear layer of a CPU, and the activation after it, at its fastest in its precision.

    Its `forward` takes the features and, or not, what is added to the result.
    """
    kernel = fused_kernel()
    is_exact = linear.weight.dtype is torch.float32
    if is_exact and kernel is not None and kernel.has_fast_matmul:
        return KernelLinear(linear.weight, linear.bias, kernel, activation)
    if linear.weight.dtype is torch.bfloat16 and can_pack():
        return PackedLinear(linear, activation)
    return PlainLinear(linear, activation)


def fast_perceptron(perceptron: MultilayerPerceptron) -> nn.Module:
    """A perceptron of a CPU at its fastest."""
    *hidden, last = (layer for layer in perceptron.layers if isinstance(layer, nn.Linear))
    return nn.Sequential(*(fast_linear(layer, "relu") for layer in hidden), fast_linear(last))


class BlockwiseFeedForward(nn.Module):
    """A feed-forward network, some tokens at a time, so that what is between its layers stays in
    the processor's cache.

    Args:
        first, second: the layers. activation: between them.
    """

    def __init__(self, first: nn.Linear, second: nn.Linear, activation: Activation) -> None:
        super().__init__()
        self.tokens_at_once = max(1, HIDDEN_AT_ONCE // first.out_features)
        self.first, self.second = fast_linear(first, activation), fast_linear(second)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., width) to (..., width); `added`, (..., width), is added to that."""
        tokens = features.flatten(0, -2)
        if len(tokens) <= self.tokens_at_once:
            return self.second(self.first(features), added)
        parts = tokens.split(self.tokens_at_once)
        if added is None:
            results = [self.second(self.first(part)) for part in parts]
        else:
            sums = added.flatten(0, -2).split(self.tokens_at_once)
            results = [
                self.second(self.first(part), some) for part, some in zip(parts, sums, strict=True)
            ]
        return torch.cat(results).view(features.shape)


def blockwise(block: FeedForward) -> BlockwiseFeedForward:
    """A transformer's feed-forward network."""
    return BlockwiseFeedForward(block.linear1, block.linear2, "relu")


def blockwise_swin(block: SwinFeedForward) -> BlockwiseFeedForward:
    """Swin's feed-forward network."""
    return BlockwiseFeedForward(block.fc1, block.fc2, "gelu")
