# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of the losses and the matching costs, for recipes, which do without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossWeights:
    """Non-negative weights of the six terms, for both losses and matching costs."""

    classification: float
    l1: float
    giou: float
    mask: float
    dice: float
    projection: float


# The runs that used each set are listed in the network's specification, section Training.
REF_YOUTUBE_VOS_WEIGHTS = LossWeights(4, 5, 2, 5, 5, 5)
"""RefCOCO, Ref-YouTube-VOS and Ref-DAVIS17, both backbones."""

MEVIS_SWIN_B_WEIGHTS = LossWeights(1, 3, 3, 5, 4, 4)
"""MeViS, A2D-Sentences and JHMDB-Sentences with Swin-B."""

MEVIS_SWIN_T_WEIGHTS = LossWeights(2, 1, 1, 5, 5, 2)
"""MeViS with Swin-T."""
