# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of whole runs share: what the scene's commands mean, equal results, messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rosbags.highlevel import AnyReader

from referdino_core.progress import Progress, ProgressMonitor

COUNT = 24
BALL, SPHERE = "the small purple ball", "the purple sphere left of the orange cylinder"
MEANINGS = ((BALL, (2,)), (SPHERE, (5,)))
DETERMINISTIC = ("frames.jsonl", "results.mcap", "summary.json", "overlay.mp4")


def assert_equal_results(one: Path, other: Path) -> None:
    for name in DETERMINISTIC:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def messages_of(path: Path) -> list[tuple[str, int, Any]]:
    """Topic, nanoseconds and message of everything in a bag, read with its own definitions."""
    with AnyReader([path]) as reader:
        return [
            (connection.topic, time, reader.deserialize(data, connection.msgtype))
            for connection, time, data in reader.messages()
        ]


def cancelling_after(count: int) -> ProgressMonitor:
    """A monitor that cancels a task once `count` of its parts are done."""

    def cancel(progress: Progress) -> None:
        if progress.done == count:
            monitor.cancelled.set()

    monitor = ProgressMonitor(cancel)
    return monitor
