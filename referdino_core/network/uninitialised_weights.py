# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Construction of networks without initialising weights that a checkpoint will overwrite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

_INITIALISERS = (nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_)


class UninitialisedWeights(TorchFunctionMode):
    """Context in which modules leave large weights uninitialised.

    Sampling the 200 million weights of a large network takes longer than reading them from a file.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, unless it is an initialiser; then return its tensor unchanged."""
        kwargs = kwargs or {}
        if func in _INITIALISERS:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
