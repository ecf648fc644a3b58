# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How good the answers are, where there is truth to compare them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from referdino_core.lazy import lazy_names

if TYPE_CHECKING:
    from referdino_core.evaluation.measures import region_similarity
    from referdino_core.evaluation.world_clips import StreamScore, evaluate_world, table

__all__ = ["StreamScore", "evaluate_world", "region_similarity", "table"]

__getattr__ = lazy_names(
    __name__,
    {
        "StreamScore": "world_clips",
        "evaluate_world": "world_clips",
        "region_similarity": "measures",
        "table": "world_clips",
    },
)
