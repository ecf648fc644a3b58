# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Terms shared by the losses and the matching costs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2


def focal_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Focal losses of each logit for a ground truth of 1 and of 0.

    With p = sigmoid(logit): -alpha (1 - p)^gamma log p and -(1 - alpha) p^gamma log(1 - p), alpha
    0.25 and gamma 2, after Lin et al., "Focal loss for dense object detection".

    Returns:
        Two tensors of the shape of `logits`, 0 or more.
    """
    probability = logits.sigmoid()
    if_positive = FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * functional.softplus(-logits)
    if_negative = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * functional.softplus(logits)
    return if_positive, if_negative


def dice_distance(overlap: Tensor, predicted_area: Tensor, true_area: Tensor) -> Tensor:
    """Dice distance, 0 to 1: 1 - (2 overlap + 1) / (predicted area + true area + 1).

    Args:
        overlap: sum of probability times ground truth.
        predicted_area: sum of probabilities.
        true_area: sum of the ground truth.
    """
    return 1 - (2 * overlap + 1) / (predicted_area + true_area + 1)
