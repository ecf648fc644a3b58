# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Random tensors for the CPU kernels, and how exact their results have to be."""

from __future__ import annotations

import torch
from torch import Tensor

PLACE = torch.finfo(torch.float32).eps


def random_numbers(*shape: int, seed: int = 0) -> Tensor:
    """Normally distributed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_as_exact(found: Tensor, plain: Tensor, exact: Tensor, times: float = 3.0) -> None:
    """The kernel's error against float64 is about that of PyTorch's own operator in float32.

    Both round every sum, in another order. How often that goes well is luck, so that the worst
    error may be some times PyTorch's worst, and one of the last place where PyTorch has none.
    """
    assert found.dtype == torch.float32
    assert found.shape == plain.shape == exact.shape
    assert exact.dtype == torch.float64
    largest = exact.abs().amax().item()
    allowed = times * (plain.double() - exact).abs().amax().item() + PLACE * largest
    assert (found.double() - exact).abs().amax().item() <= allowed
