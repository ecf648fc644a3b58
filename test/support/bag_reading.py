# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Reading recordings in tests, and comparing them with the scene that was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from bag_samples import (
    IMAGE_TOPIC,
    PERIOD,
    START,
    scene_images,
)

from referdino_core.replay.bag_recording import BagRecording
from referdino_core.replay.recording import RecordedFrame


def frames_of(recording: BagRecording) -> list[RecordedFrame]:
    with recording:
        return [event for event in recording.events() if isinstance(event, RecordedFrame)]


def storage_file(bag: Path) -> Path:
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    return file


def metadata_says(announced: int, found: int) -> str:
    return f"metadata.yaml announces {announced} messages on {IMAGE_TOPIC}; {found} were read"


def assert_is_the_scene(frames: list[RecordedFrame], count: int) -> None:
    assert [frame.stamp for frame in frames] == [START + n * PERIOD for n in range(count)]
    assert [frame.arrival for frame in frames] == [frame.stamp for frame in frames]
    assert [frame.index for frame in frames] == list(range(count))
    for frame, pixels in zip(frames, scene_images(count), strict=True):
        assert np.array_equal(frame.pixels(), pixels)
