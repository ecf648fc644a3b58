# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Readers of ground truth: label images, MeViS-style annotations, the world's own clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.evaluation.ground_truth.base import FrameGroundTruth, GroundTruth
    from referdino_core.evaluation.ground_truth.opening import open_ground_truth

__all__ = ["FrameGroundTruth", "GroundTruth", "open_ground_truth"]

if not TYPE_CHECKING:  # or a misspelt name would pass
    __getattr__ = lazy_names(
        __name__,
        {"FrameGroundTruth": "base", "GroundTruth": "base", "open_ground_truth": "opening"},
    )
