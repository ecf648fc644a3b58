# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bounded memories of audio."""

from __future__ import annotations

import threading

import numpy as np

from referdino_core.voice.buffers import AudioHistory, BlockQueue


def test_a_history_keeps_the_newest_samples_at_their_positions() -> None:
    history = AudioHistory(1000)
    stream = np.arange(10_000) % 30_000
    at = 0
    for size in np.random.default_rng(0).integers(1, 1500, 30):
        history.append(stream[at : at + size].astype(np.int16))
        at = min(at + size, len(stream))
        assert history.end == at
        assert history.start == max(0, at - 1000)
        kept = history.between(0, 10**9)
        assert kept.tolist() == stream[history.start : at].tolist()
        middle = history.between(at - 300, at - 100)
        assert middle.tolist() == stream[max(0, at - 300) : max(0, at - 100)].tolist()


def test_a_history_returns_copies_and_nothing_outside() -> None:
    history = AudioHistory(10)
    history.append(np.arange(5, dtype=np.int16))
    taken = history.between(1, 3)
    taken[:] = 99
    assert history.between(1, 3).tolist() == [1, 2]
    assert len(history.between(5, 9)) == 0 and len(history.between(3, 2)) == 0


def test_a_queue_drops_the_oldest_and_counts_it() -> None:
    queue = BlockQueue(100)
    for number in range(5):
        queue.put(np.full(40, number, np.int16))
    assert queue.dropped == 120
    taken = queue.take(0.0)
    assert taken is not None and taken.tolist() == [3] * 40 + [4] * 40


def test_a_block_larger_than_the_queue_is_kept_whole() -> None:
    queue = BlockQueue(10)
    queue.put(np.ones(50, np.int16))
    taken = queue.take(0.0)
    assert taken is not None and len(taken) == 50 and queue.dropped == 0


def test_a_queue_waits_and_ends() -> None:
    queue = BlockQueue(100)
    assert queue.take(0.01) is not None  # nothing came, and nothing ended
    threading.Timer(0.05, queue.close).start()
    assert queue.take(30.0) is None
    queue.put(np.ones(5, np.int16))
    assert queue.take(0.0) is None
