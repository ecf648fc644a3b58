# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How good the answers are, where there is ground truth to compare them with."""

# Imported at once: a lazy name would give way to the module that is called the same.
from referdino_core.evaluation.davis import (
    boundary_accuracy,
    region_similarity,
    sequence_statistics,
)

__all__ = ["boundary_accuracy", "region_similarity", "sequence_statistics"]
