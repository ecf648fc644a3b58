# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the arithmetic of matrix products and convolutions that a piece of code does."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class MatrixWork(TorchDispatchMode):
    """A context that adds up the floating-point operations in it, by PyTorch's own formulas.

    PyTorch's counter cannot follow modules in inference mode, and this one need not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, inputs: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        """Run an operator and count it; one made of others is taken apart first."""
        named = named or {}
        formula = flop_registry.get(function._overloadpacket)
        if formula is None:
            with self:
                parts = function.decompose(*inputs, **named)
            if parts is not NotImplemented:
                return parts
        output = function(*inputs, **named)
        if formula is not None:
            self.operations += formula(*inputs, **named, out_val=output)
        return output
