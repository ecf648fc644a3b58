# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the frames of a worker, over one run after the other."""

from __future__ import annotations


class RunCounter:
    """Follows one run after the other.

    Attributes:
        frames: of all runs so far.
        share: of the present run that is behind us, 0 to 1; 0 where nobody knows.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.share = 0.0
        self._total: int | None = None

    def begin(self, total: int | None) -> None:
        """A run of so many frames begins."""
        self._total, self.share = total, 0.0

    def count(self, done: int) -> None:
        """So many frames of the present run are done."""
        self.frames += 1
        # More frames than announced do not make more than one run.
        self.share = min(1.0, done / self._total) if self._total else 0.0

    def end(self) -> None:
        """The run has ended."""
        self.share = 0.0
