# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Position encodings through referdino's fused kernel for CPUs."""

from __future__ import annotations

from torch import Tensor, nn

from referdino_core.kernels import FusedKernel
from referdino_core.network.position_encoding import BoxEmbedding, SineEmbedding


class KernelSineEmbedding(nn.Module):
    """`SineEmbedding`, which is in float32 whatever the precision."""

    def __init__(self, embedding: SineEmbedding, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.wavelengths = embedding.wavelengths

    def forward(self, angles: Tensor) -> Tensor:
        """As `SineEmbedding.forward`."""
        return self.kernel.sine_embedding(angles.float(), self.wavelengths)


class KernelBoxEmbedding(nn.Module):
    """`BoxEmbedding`, which is in float32 whatever the precision."""

    def __init__(self, embedding: BoxEmbedding, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.wavelengths = embedding.coordinates.wavelengths

    def forward(self, boxes: Tensor) -> Tensor:
        """As `BoxEmbedding.forward`."""
        return self.kernel.box_embedding(boxes, self.wavelengths)
