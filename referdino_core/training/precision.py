# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Matrix products in bfloat16 where the processor is made for it."""

from __future__ import annotations

import time
from functools import cache

import torch


def mixed_precision() -> torch.autocast:
    """Context in which matrix products on the CPU run in bfloat16, where that pays."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays())


@cache
def bfloat16_pays(size: int = 1024, rounds: int = 5) -> bool:
    """Whether this processor multiplies matrices in bfloat16 at least twice as fast, measured."""

    def seconds(precision: torch.dtype) -> float:
        matrix = torch.ones(size, size, dtype=precision)
        spans = []
        for _ in range(rounds):
            began = time.perf_counter()
            matrix @ matrix
            spans.append(time.perf_counter() - began)
        return min(spans)

    return 2 * seconds(torch.bfloat16) < seconds(torch.float32)
