# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation: metrics, readers of ground truth, benchmark protocols, parity of exports."""

# Imported at once: a lazy name would give way to the module that is called the same.
from referdino_core.evaluation.davis import (
    boundary_accuracy,
    region_similarity,
    sequence_statistics,
)

__all__ = ["boundary_accuracy", "region_similarity", "sequence_statistics"]
