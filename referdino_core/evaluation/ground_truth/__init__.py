# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Readers of ground truth: label images, MeViS-style annotations, the world's own clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.evaluation.ground_truth.base import FrameTruth, Truth
    from referdino_core.evaluation.ground_truth.opening import open_truth

__all__ = ["FrameTruth", "Truth", "open_truth"]

if not TYPE_CHECKING:  # or a misspelt name would pass
    __getattr__ = lazy_names(
        __name__, {"FrameTruth": "base", "Truth": "base", "open_truth": "opening"}
    )
