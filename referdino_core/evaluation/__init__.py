# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How good the answers are, where there is truth to compare them with."""

from referdino_core.evaluation.measures import region_similarity
from referdino_core.evaluation.world_clips import StreamScore, evaluate_world, table

__all__ = ["StreamScore", "evaluate_world", "region_similarity", "table"]
