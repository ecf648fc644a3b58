# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Linear layers and feed-forward networks on CPUs, with prepacked weights and cache blocking.

The formula is ``activation(x W^T + b) + added``. Float32 uses the CPU kernels, bfloat16 uses
oneDNN's packed layers, and everything else PyTorch's operators.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from referdino_core.ops.library import KernelLibrary, matmul_kernels_for

Activation = Literal["none", "relu", "gelu"]

_ACTIVATION_CODES: dict[Activation, int] = {"none": 0, "relu": 1, "gelu": 2}
_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "relu": partial(nn.ReLU, inplace=True),
    "gelu": nn.GELU,
}
_POINTER, _INDEX = ctypes.c_void_p, ctypes.c_int64

MAX_HIDDEN_ELEMENTS = 2**20
"""Hidden elements of a feed-forward network that are computed at once."""


# ---- The CPU kernels ----


class LinearWeights(ctypes.Structure):
    """``LinearWeights`` of linear_layer.h; it does not own the memory that it points to."""

    _fields_ = (
        ("packed", _POINTER),
        ("bias", _POINTER),
        ("inputs", _INDEX),
        ("outputs", _INDEX),
    )


class NormWeights(ctypes.Structure):
    """``NormWeights`` of linear_layer.h; a null weight means no normalisation."""

    _fields_ = (("weight", _POINTER), ("bias", _POINTER), ("epsilon", ctypes.c_float))


class FeedForwardWeights(ctypes.Structure):
    """``FeedForwardWeights`` of blocks.h."""

    _fields_ = (
        ("before", NormWeights),
        ("first", LinearWeights),
        ("activation", _INDEX),
        ("second", LinearWeights),
        ("after", NormWeights),
    )


class Norm(Protocol):
    """A layer normalisation with contiguous weights; `eps` is added to the variance."""

    eps: float

    @property
    def weight(self) -> Tensor:
        """(width,) gains."""

    @property
    def bias(self) -> Tensor:
        """(width,) offsets."""


def norm_weights(norm: Norm | None) -> NormWeights:
    """Pointers to a norm's weights, valid as long as the norm lives; null pointers for None."""
    if norm is None:
        return NormWeights()
    return NormWeights(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)


def pack_linear(library: KernelLibrary, weight: Tensor) -> Tensor:
    """The (out, in) float32 weight of a linear layer, prepacked for `linear`."""
    if weight.dtype is not torch.float32:
        raise ValueError(f"weights are packed in float32, not in {weight.dtype}")
    outputs, inputs = weight.shape
    weight = weight.contiguous()
    packed = weight.new_empty(library.functions.referdino_packed_size(outputs, inputs))
    library.functions.referdino_pack_linear(weight.data_ptr(), outputs, inputs, packed.data_ptr())
    return packed


def linear(
    library: KernelLibrary,
    features: Tensor,
    packed: Tensor,
    bias: Tensor | None,
    outputs: int,
    added: Tensor | None = None,
    activation: Activation = "none",
) -> Tensor:
    """Linear layer with activation and residual, in float32, without gradients.

    Args:
        features: (..., in).
        packed: the weight, prepacked by `pack_linear`.
        bias: (out,).
        outputs: out.
        added: (..., out), added to the activated result.

    Returns:
        (..., out).
    """
    features = features.contiguous()
    inputs = features.shape[-1]
    output = features.new_empty(*features.shape[:-1], outputs)
    if added is not None:
        added = added.contiguous()
    library.functions.referdino_linear(
        features.data_ptr(),
        features.numel() // inputs,
        inputs,
        packed.data_ptr(),
        None if bias is None else bias.data_ptr(),
        outputs,
        None if added is None else added.data_ptr(),
        _ACTIVATION_CODES[activation],
        output.data_ptr(),
        torch.get_num_threads(),
    )
    return output


# ---- Linear layers ----


class KernelLinear(nn.Module):
    """Float32 linear layer with activation, in one call of the CPU kernel.

    Args:
        weight: (out, in) float32, which is prepacked.
        bias: (out,), or None.
        activation: applied to the result.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        library: KernelLibrary,
        activation: Activation = "none",
    ) -> None:
        super().__init__()
        self.library = library
        self.activation = activation
        self.out_features = len(weight)
        self.weight = pack_linear(library, weight.detach())
        self.bias = None if bias is None else bias.detach().contiguous()
        bias_pointer = None if self.bias is None else self.bias.data_ptr()
        self.weights = LinearWeights(
            self.weight.data_ptr(), bias_pointer, weight.shape[1], weight.shape[0]
        )

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., in) to (..., out); `added`, (..., out), is added to the result."""
        return linear(
            self.library,
            features,
            self.weight,
            self.bias,
            self.out_features,
            added,
            self.activation,
        )


class PackedLinear(nn.Module):
    """Bfloat16 linear layer with activation, in one oneDNN primitive.

    Args:
        linear: float32 or bfloat16; its weight is prepacked, the layer itself is not kept.
        activation: applied to the result.
    """

    def __init__(self, linear: nn.Linear, activation: Activation = "none") -> None:
        super().__init__()
        self.activation = activation
        # GELU needs the name of its variant ("none": exact), the others need none.
        self.variant = "none" if activation == "gelu" else ""
        weight = linear.weight.detach().bfloat16()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.bias = None if linear.bias is None else linear.bias.detach().bfloat16()

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., in) bfloat16 to (..., out); `added`, (..., out), is added to the result."""
        result = torch.ops.mkldnn._linear_pointwise(
            features, self.weight, self.bias, self.activation, [], self.variant
        )
        return result if added is None else added + result


def can_pack() -> bool:
    """Whether this PyTorch has oneDNN's packed linear layers."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class PlainLinear(nn.Module):
    """Linear layer with activation, in PyTorch's operators."""

    def __init__(self, linear: nn.Linear, activation: Activation = "none") -> None:
        super().__init__()
        self.linear, self.activation = linear, _ACTIVATIONS[activation]()

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., in) to (..., out); `added`, (..., out), is added to the result."""
        result: Tensor = self.activation(self.linear(features))
        return result if added is None else added + result


def fast_linear(linear: nn.Linear, activation: Activation = "none") -> nn.Module:
    """The fastest equivalent of a linear layer with activation on the CPU, in its precision.

    Its `forward` takes the features and, optionally, a tensor to add to the result.
    """
    library = matmul_kernels_for(linear.weight)
    if library is not None:
        return KernelLinear(linear.weight, linear.bias, library, activation)
    if linear.weight.dtype is torch.bfloat16 and can_pack():
        return PackedLinear(linear, activation)
    return PlainLinear(linear, activation)


# ---- Feed-forward networks ----


class BlockwiseFeedForward(nn.Module):
    """Feed-forward network in blocks of tokens, whose hidden features fit the processor's cache.

    Args:
        first, second: the layers.
        activation: activation between them.
    """

    def __init__(self, first: nn.Linear, second: nn.Linear, activation: Activation) -> None:
        super().__init__()
        self.tokens_at_once = max(1, MAX_HIDDEN_ELEMENTS // first.out_features)
        self.first, self.second = fast_linear(first, activation), fast_linear(second)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(..., width) to (..., width); `added`, (..., width), is added to the result."""
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


class FeedForwardBlock(nn.Module):
    """Feed-forward network with residual and norm, in one call of the CPU kernel.

    Args:
        first, second: the layers, float32.
        activation: activation between them.
        before: norm of the input (pre-norm, as in Swin), or None.
        after: norm of the sum (post-norm, as in the other transformers), or None.
    """

    def __init__(
        self,
        first: nn.Linear,
        second: nn.Linear,
        activation: Activation,
        library: KernelLibrary,
        before: Norm | None = None,
        after: Norm | None = None,
    ) -> None:
        super().__init__()
        self.library = library
        self.first = KernelLinear(first.weight, first.bias, library)
        self.second = KernelLinear(second.weight, second.bias, library)
        self.before, self.after = before, after
        self.weights = FeedForwardWeights(
            before=norm_weights(before),
            first=self.first.weights,
            activation=_ACTIVATION_CODES[activation],
            second=self.second.weights,
            after=norm_weights(after),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) to the same shape."""
        tokens = tokens.contiguous()
        output = torch.empty_like(tokens)
        self.library.functions.referdino_feed_forward(
            ctypes.byref(self.weights),
            tokens.data_ptr(),
            tokens.numel() // tokens.shape[-1],
            output.data_ptr(),
            torch.get_num_threads(),
        )
        return output
