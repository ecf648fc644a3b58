# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Similarity of queries and a sentence's tokens through referdino's fused kernel for CPUs."""

from __future__ import annotations

from torch import Tensor, nn

from referdino_core.kernels import FusedKernel
from referdino_core.network.token_similarity import TokenSimilarity


class KernelTokenSimilarity(nn.Module):
    """`TokenSimilarity`, which is in float32 whatever the precision."""

    def __init__(self, similarity: TokenSimilarity, kernel: FusedKernel) -> None:
        super().__init__()
        self.kernel = kernel
        scale, offset = similarity.log_scale, similarity.offset
        self.scale = 1.0 if scale is None else scale.exp().item()
        self.offset = 0.0 if offset is None else offset.item()

    def forward(self, queries: Tensor, text: Tensor, text_padding: Tensor) -> Tensor:
        """As `TokenSimilarity.forward`."""
        return self.kernel.token_similarity(queries, text, text_padding, self.scale, self.offset)
