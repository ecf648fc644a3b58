# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The precisions of the tensor stages: element types, and the runtimes that compute in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Precision:
    """A precision of weights and features; coordinates and scores are float32 in each.

    Attributes:
        name: as users write it.
        element_type: the name of the element type in PyTorch and NumPy.
        on_cpu: names of the runtimes that compute in it on a CPU.
        on_gpu: names of the runtimes that compute in it on a GPU.
    """

    name: str
    element_type: str
    on_cpu: frozenset[str]
    on_gpu: frozenset[str]

    @property
    def dtype(self) -> torch.dtype:
        """PyTorch's element type."""
        import torch

        dtype: torch.dtype = getattr(torch, self.element_type)
        return dtype

    def runs(self, runtime: str, device_type: str) -> bool:
        """Whether a runtime computes in this precision on devices of a type, such as "cuda"."""
        return runtime in (self.on_cpu if device_type == "cpu" else self.on_gpu)


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        precision.name: precision
        for precision in (
            Precision(
                "fp32",
                "float32",
                on_cpu=frozenset({"torch", "onnxruntime"}),
                on_gpu=frozenset({"torch", "onnxruntime", "tensorrt"}),
            ),
            Precision(
                "bf16",
                "bfloat16",
                on_cpu=frozenset({"torch"}),
                on_gpu=frozenset({"torch"}),
            ),
            Precision(
                "fp16",
                "float16",
                on_cpu=frozenset(),
                on_gpu=frozenset({"torch", "onnxruntime", "tensorrt"}),
            ),
        )
    }
)
"""All precisions by name."""


def precisions_of(runtime: str, device_type: str) -> tuple[str, ...]:
    """Names of the precisions that a runtime computes in on devices of a type."""
    return tuple(
        name for name, precision in PRECISIONS.items() if precision.runs(runtime, device_type)
    )
