# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of whole runs share: a recorded scene, the job to replay it, equal results."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from bag_samples import (
    PERIOD,
    TRUTH_TOPIC,
    scene,
    text,
    write_bag,
)
from rosbags.highlevel import AnyReader

from referdino_core.replay.job import ReplayJob
from referdino_core.session.model_choice import LoadedModel, ModelChoice, load

COUNT = 24
BALL, SPHERE = "the small purple ball", "the purple sphere left of the orange cylinder"
MEANINGS = ((BALL, (2,)), (SPHERE, (5,)))
DETERMINISTIC = ("frames.jsonl", "results.mcap", "summary.json", "overlay.mp4")


@cache
def loaded_model() -> LoadedModel:
    return load(ModelChoice())


def scene_job(folder: Path) -> ReplayJob:
    """The scene recorded in a folder; the first command comes before the first image."""
    commands = [text(BALL, -PERIOD), text(SPHERE, 12 * PERIOD + 1)]
    bag = write_bag(folder / "bag", [*scene(COUNT, with_truth=True), *commands])
    return ReplayJob(bag, folder / "first", truth=f"topic:{TRUTH_TOPIC}", meanings=MEANINGS)


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
