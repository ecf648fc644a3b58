# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bounded memories of audio: the newest seconds by position, and blocks between two threads."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np


class AudioHistory:
    """The newest samples of a stream in a ring, addressed by their position from its start.

    Args:
        capacity: number of samples kept.

    Attributes:
        end: position after the newest sample: the number of samples so far.
    """

    def __init__(self, capacity: int) -> None:
        self._ring = np.zeros(capacity, np.int16)
        self.end = 0

    @property
    def start(self) -> int:
        """Position of the oldest sample that is kept."""
        return max(0, self.end - len(self._ring))

    def append(self, samples: np.ndarray) -> None:
        """Add (N,) int16 samples; the oldest make room."""
        kept = samples[-len(self._ring) :]
        at = (self.end + len(samples) - len(kept)) % len(self._ring)
        first = min(len(kept), len(self._ring) - at)
        self._ring[at : at + first] = kept[:first]
        self._ring[: len(kept) - first] = kept[first:]
        self.end += len(samples)

    def between(self, start: int, end: int) -> np.ndarray:
        """A copy of the samples from `start` up to `end`, as far as they are kept."""
        start, end = max(start, self.start), min(end, self.end)
        if start >= end:
            return np.zeros(0, np.int16)
        positions = np.arange(start, end) % len(self._ring)
        return self._ring[positions]


class BlockQueue:
    """Blocks of audio from the thread that receives them to the one that listens.

    Bounded: beyond `capacity` samples the oldest blocks are dropped and counted. Thread-safe.

    Attributes:
        dropped: number of samples dropped so far.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: deque[np.ndarray] = deque()
        self._held = 0
        self._news = threading.Condition()
        self._closed = False
        self.dropped = 0

    def put(self, samples: np.ndarray) -> None:
        """Add (N,) int16 samples; after `close` they are ignored."""
        with self._news:
            if self._closed or not len(samples):
                return
            self._blocks.append(samples)
            self._held += len(samples)
            while self._held > self._capacity and len(self._blocks) > 1:
                lost = len(self._blocks.popleft())
                self._held -= lost
                self.dropped += lost
            self._news.notify()

    def take(self, timeout: float) -> np.ndarray | None:
        """Everything that waits, (N,) int16; empty after `timeout` seconds; None once closed."""
        with self._news:
            self._news.wait_for(lambda: self._blocks or self._closed, timeout)
            if self._closed:
                return None
            blocks, self._held = list(self._blocks), 0
            self._blocks.clear()
        return np.concatenate(blocks) if blocks else np.zeros(0, np.int16)

    def close(self) -> None:
        """Wake and end the listening thread."""
        with self._news:
            self._closed = True
            self._news.notify_all()
