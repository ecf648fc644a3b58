# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How well queries fit a sentence: similarity to its best-fitting token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from referdino_core.ops.token_similarity import token_similarity


class TokenSimilarity(nn.Module):
    """`token_similarity`, calibrated by a learned scale and offset where `calibrated`.

    The offset starts at a prior of a few per mille, so that a network that is trained from
    scratch does not begin by unlearning confident mistakes. Released weights have neither.
    """

    def __init__(self, width: int, calibrated: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(width**-0.5).log()) if calibrated else None
        self.offset = nn.Parameter(torch.tensor(-6.0)) if calibrated else None

    def forward(self, queries: Tensor, text: Tensor, text_padding: Tensor) -> Tensor:
        """Logits (..., Q) that the queries fit the sentence."""
        return token_similarity(queries, text, text_padding, self.log_scale, self.offset)
