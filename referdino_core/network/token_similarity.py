# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Similarity of queries to a sentence: to its most similar token."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def token_similarity(queries: Tensor, text: Tensor, text_padding: Tensor) -> Tensor:
    """Highest dot product of each query with a token that is not padding.

    Args:
        queries: (..., Q, d); text: (..., L, d).
        text_padding: (..., L) bool, True on padding. All three broadcast.

    Returns:
        (..., Q) in the precision of the queries; minus infinity for a sentence of padding.
    """
    similarities = queries @ text.transpose(-1, -2)
    return similarities.masked_fill(text_padding[..., None, :], -torch.inf).amax(-1)


class TokenSimilarity(nn.Module):
    """`token_similarity` with a learned scale and offset if `calibrated`.

    The offset is initialised to a prior of a few per mille, so that training from scratch does not
    begin with confident mistakes. The released weights have neither scale nor offset.
    """

    def __init__(self, width: int, calibrated: bool) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(width**-0.5).log()) if calibrated else None
        self.offset = nn.Parameter(torch.tensor(-6.0)) if calibrated else None

    def forward(self, queries: Tensor, text: Tensor, text_padding: Tensor) -> Tensor:
        """Logits (..., Q) that the queries fit the sentence."""
        similarity = token_similarity(queries, text, text_padding)
        if self.log_scale is None or self.offset is None:
            return similarity
        return similarity * self.log_scale.exp() + self.offset
