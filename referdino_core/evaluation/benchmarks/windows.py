# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The frames that lead up to the one that counts, in A2D-Sentences and JHMDB-Sentences."""

from __future__ import annotations

WINDOW = 8
"""Frames of a clip, at most; a stream looks back over as many by default."""


def window_up_to(place: int) -> range:
    """Indices of a video's frames that end with the judged one at `place`."""
    return range(max(place - WINDOW + 1, 0), place + 1)
