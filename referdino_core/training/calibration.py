# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration of scores to probabilities by a slope and a bias, the last step of the recipe.

Platt, "Probabilistic outputs for support vector machines" (1999): a logistic regression of whether
the best slot of a frame is right on its logit, over clips that were not used for training. Slope
and bias are folded into the scale and offset of the readout, so that only these weights change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from referdino_core.network.referdino import ReferDINO
from referdino_core.training.batches import on_device
from referdino_core.training.grounded_clips import GroundedClip
from referdino_core.training.supervision import POSITIVE_OVERLAP
from referdino_core.training.temporal_stage import LONGEST_WINDOW, stack_items

BINS = 10
NEWTON_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """Calibration that maps a logit to `slope` times the logit plus `bias`.

    Attributes:
        error_before, error_after: expected calibration error, the mean difference between
            confidence and accuracy over ten equal ranges of scores.
    """

    slope: float
    bias: float
    error_before: float
    error_after: float


@torch.no_grad()
def best_slots(model: ReferDINO, items: Sequence[GroundedClip]) -> tuple[np.ndarray, np.ndarray]:
    """Logit of every frame's best slot in a stream, and whether the slot covers the target.

    Returns:
        (M,) float64 and (M,) bool over all frames of all items.
    """
    logits: list[Tensor] = []
    right: list[Tensor] = []
    for item in items:
        for newest in range(len(item.stamps)):
            frames = np.arange(max(0, newest - LONGEST_WINDOW + 1), newest + 1)
            batch = on_device(stack_items([item], [frames]), model.device)
            readout, window = model.readout, batch.window
            history = readout.history(window)
            scores = readout.similarity(history, window.text, window.text_padding[:, None])
            newest_scores = scores[0, -1].cpu()
            best = newest_scores.argmax()
            logits.append(newest_scores[best])
            right.append(item.overlaps[newest, best] > POSITIVE_OVERLAP)
    return torch.stack(logits).double().numpy(), torch.stack(right).numpy()


def fit(logits: np.ndarray, right: np.ndarray) -> Calibration:
    """The calibration with maximum likelihood, by Newton's method."""
    features = np.column_stack([logits, np.ones_like(logits)])
    weights = np.array([1.0, 0.0])
    for _ in range(NEWTON_STEPS):
        probability = sigmoid(features @ weights)
        gradient = features.T @ (probability - right)
        curvature = (features * (probability * (1 - probability))[:, None]).T @ features
        weights = weights - np.linalg.solve(curvature + 1e-6 * np.eye(2), gradient)
    return Calibration(
        slope=float(weights[0]),
        bias=float(weights[1]),
        error_before=calibration_error(sigmoid(logits), right),
        error_after=calibration_error(sigmoid(features @ weights), right),
    )


def calibration_error(probability: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: mean difference of confidence and accuracy over the bins."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    gaps = [
        abs(float((probability[bins == index] - right[bins == index]).sum()))
        for index in range(BINS)
    ]
    return sum(gaps) / len(probability)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The logistic function."""
    values: np.ndarray = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return values


@torch.no_grad()
def calibrate(model: ReferDINO, items: Sequence[GroundedClip]) -> Calibration:
    """Fit a calibration on items that were not used for training, and fold it into the readout.

    Raises:
        ValueError: higher scores are not more often right, so that they cannot be calibrated.
    """
    found = fit(*best_slots(model, items))
    similarity = model.readout.similarity
    assert similarity.log_scale is not None and similarity.offset is not None
    if found.slope <= 0:
        raise ValueError(f"Scores fall with accuracy (slope {found.slope:.3f}).")
    similarity.log_scale.add_(math.log(found.slope))
    similarity.offset.mul_(found.slope).add_(found.bias)
    return found
