# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Video-level vision-language contrastive loss (SOC, Luo et al., NeurIPS 2023)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(video_queries: Tensor, sentences: Tensor, matched: Tensor) -> Tensor:
    """Cross-entropy of identifying the matched query of a clip by its sentence.

    Logits are inner products divided by d, without normalisation or temperature. The negatives are
    the other queries of the same clip, not those of other clips.

    Args:
        video_queries: (B, Q, d) of B clips.
        sentences: (B, d).
        matched: (B,) int64, the matched query of each clip.

    Returns:
        Scalar, the mean over clips.
    """
    logits = (video_queries @ sentences[..., None]).squeeze(-1) / video_queries.shape[-1]
    return F.cross_entropy(logits, matched)
