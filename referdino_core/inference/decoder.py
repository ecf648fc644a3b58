# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the decoder does between its layers, through referdino's fused kernels for CPUs."""

from __future__ import annotations

from torch import Tensor, nn

from referdino_core.kernels import FusedKernel
from referdino_core.network.position_encoding import LOGIT_EPSILON


class KernelPruningScore(nn.Module):
    """`ReleasedPruningScore` in float32."""

    def __init__(self, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, fit: Tensor, query_weights: Tensor) -> Tensor:
        """As `ReleasedPruningScore.forward`."""
        return self.kernel.pruning_scores(fit, query_weights)


class KernelBoxRefinement(nn.Module):
    """`BoxRefinement`, which is in float32 whatever the precision."""

    def __init__(self, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, moves: Tensor, references: Tensor) -> Tensor:
        """As `BoxRefinement.forward`."""
        return self.kernel.refine_boxes(moves, references, LOGIT_EPSILON)
