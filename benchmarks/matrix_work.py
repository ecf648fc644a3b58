# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Counter of the floating-point operations of matrix multiplications and convolutions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any
from unittest.mock import patch

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from referdino_core.ops import convolution as ops_convolution
from referdino_core.ops import linear as ops_linear
from referdino_core.ops.linear import FeedForwardBlock
from referdino_core.optimize import folded_fusion, swin_stage, transformer_layers


class MatrixWork:
    """Context that counts the floating-point operations in it.

    PyTorch's operators are counted with PyTorch's own formulas. PyTorch's counter does not work in
    inference mode, and does not count the CPU kernels.
    """

    def __init__(self) -> None:
        self.operations = 0
        self.contexts = ExitStack()

    def __enter__(self) -> MatrixWork:
        """Start counting."""
        for owner, name, multiplications in KERNELS:
            counted = self.counted(getattr(owner, name), multiplications)
            self.contexts.enter_context(patch.object(owner, name, counted))
        self.contexts.enter_context(OperatorWork(self))
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop counting, and restore the functions."""
        self.contexts.close()

    def counted(self, function: Callable[..., Any], multiplications: Callable[..., int]) -> Any:
        """The function with counting; a multiplication with its addition counts as two."""
        signature = inspect.signature(function)

        @wraps(function)
        def count(*inputs: Any, **named: Any) -> Any:
            call = signature.bind(*inputs, **named)
            call.apply_defaults()
            output = function(*inputs, **named)
            self.operations += 2 * multiplications(output=output, **call.arguments)
            return output

        return count


class OperatorWork(TorchDispatchMode):
    """Dispatch mode that adds the operations of PyTorch's operators to `work`."""

    def __init__(self, work: MatrixWork) -> None:
        super().__init__()
        self.work = work

    def __torch_dispatch__(
        self, function: Any, types: Any, inputs: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        """Run and count an operator; composite ones are decomposed first."""
        named = named or {}
        formula = flop_registry.get(function._overloadpacket)
        if formula is None:
            with self:
                parts = function.decompose(*inputs, **named)
            if parts is not NotImplemented:
                return parts
        output = function(*inputs, **named)
        if formula is not None:
            self.work.operations += formula(*inputs, **named, out_val=output)
        return output


# ---- Multiplications of the CPU kernels ----


def layer(rows: Tensor, weights: Any) -> int:
    return rows.numel() // rows.shape[-1] * weights.inputs * weights.outputs


def linear(output: Tensor, features: Tensor, **_: Any) -> int:
    return output.numel() * features.shape[-1]


def convolution(output: Tensor, grid: Tensor, **_: Any) -> int:
    return output.numel() * 9 * grid.shape[-1]


def attention(output: Tensor, keys: Tensor, **_: Any) -> int:
    return 2 * output.numel() * keys.shape[1]


def fusion_attention(output: tuple[Tensor, Tensor], image: Tensor, **_: Any) -> int:
    """Multiplications of the logits and of the attention in both directions."""
    _, seen = output
    return 3 * seen.numel() * image.shape[1]


def window_attention(output: Tensor, window_tokens: Tensor, **_: Any) -> int:
    windows, size = window_tokens.shape
    return 2 * len(output) * windows * size * size * output.shape[-1]


def feed_forward(self: FeedForwardBlock, tokens: Tensor, **_: Any) -> int:
    return layer(tokens, self.weights.first) + layer(tokens, self.weights.second)


def attention_block(
    output: Tensor, tokens: Tensor, weights: Any, context: Tensor | None, **_: Any
) -> int:
    source = tokens if context is None else context
    projections = layer(tokens, weights.positioned) + layer(source, weights.source)
    return projections + attention(output, source) + layer(tokens, weights.output)


def deformable_block(tokens: Tensor, memory: Tensor, weights: Any, **_: Any) -> int:
    projections = layer(tokens, weights.positioned) + layer(memory, weights.value)
    return projections + layer(tokens, weights.output)


def window_block(tokens: Tensor, weights: Any, **_: Any) -> int:
    attended = 2 * len(tokens) * weights.windows * weights.size**2 * tokens.shape[-1]
    return layer(tokens, weights.projection) + attended + layer(tokens, weights.output)


KERNELS: tuple[tuple[Any, str, Callable[..., int]], ...] = (
    (ops_linear, "linear", linear),
    (ops_convolution, "convolution", convolution),
    (folded_fusion, "fusion_attention", fusion_attention),
    (swin_stage, "window_attention", window_attention),
    (swin_stage, "window_block", window_block),
    (FeedForwardBlock, "forward", feed_forward),
    (transformer_layers, "attention_block", attention_block),
    (transformer_layers, "deformable_block", deformable_block),
)
"""Module that calls each kernel, its name there, and its multiplications; sampling, norms and
embeddings are not counted."""
