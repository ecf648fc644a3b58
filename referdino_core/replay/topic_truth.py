# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Truth on a topic of the recording: label images, matched with the camera's by their stamps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.evaluation.truth.base import FrameTruth, Truth
from referdino_core.replay.bag import Bag
from referdino_core.replay.message_types import message_types
from referdino_core.replay.recording import NANOSECONDS

_IMAGE_TYPE = "sensor_msgs/msg/Image"
_SAMPLES = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2"}
_WAITING = 64
"""Label images that are kept for frames that are still to come."""


class TopicTruth(Truth):
    """Label images (0 background, each object its number) of a topic; eight or sixteen bits.

    Frames are asked for in the order of their stamps, more or less: the topic is read along.
    """

    def __init__(self, path: Path, topic: str) -> None:
        """Open the topic, and look through it once for the objects there are.

        Raises:
            SourceError: the recording has no such topic, or it holds no label images.
        """
        super().__init__(f"label images on {topic}")
        self._bag = Bag(path)
        self._topic = topic
        types = {one.type_name for one in self._bag.channels if one.topic == topic}
        if types != {_IMAGE_TYPE}:
            self._bag.close()
            found = f"its type is {', '.join(sorted(types))}" if types else "there is none"
            raise SourceError(f"{topic} of {path} must be a topic of {_IMAGE_TYPE}; {found}.")
        found_objects: set[int] = set()
        for _, labels in self._images(noting=True):
            found_objects.update(np.unique(labels).tolist())
        self._objects = tuple(sorted(found_objects - {0}))
        self._coming: Iterator[tuple[int, np.ndarray]] | None = self._images(noting=False)
        self._read: dict[int, np.ndarray] = {}

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of all objects in any image."""
        return self._objects

    def at(self, index: int, stamp: int) -> FrameTruth | None:
        """Truth of the frame with that stamp; None where the topic has none."""
        self._read_up_to(stamp)
        labels = self._read.pop(stamp, None)
        if labels is None:
            return None
        return FrameTruth(
            masks={number: labels == number for number in self._objects}, size=labels.shape
        )

    def close(self) -> None:
        """Release the recording."""
        self._coming = None
        self._read.clear()
        self._bag.close()

    def _read_up_to(self, stamp: int) -> None:
        while self._coming is not None and stamp not in self._read:
            if self._read and max(self._read) > stamp:
                break
            following = next(self._coming, None)
            if following is None:
                self._coming = None
                break
            self._read[following[0]] = following[1]
            while len(self._read) > _WAITING:
                self._read.pop(min(self._read))

    def _images(self, noting: bool) -> Iterator[tuple[int, np.ndarray]]:
        """Stamps (nanoseconds) and labels (H, W)."""
        for raw in self._bag.messages({self._topic}):
            try:
                message = message_types().deserialize_cdr(raw.data, _IMAGE_TYPE)
                stamp = message.header.stamp
                time = stamp.sec * NANOSECONDS + stamp.nanosec
                yield time, _labels(message)
            except Exception as error:  # rosbags, NumPy and struct have errors of their own
                if noting:
                    self.note("a label image cannot be read", " ".join(str(error).split()))


def _labels(message: Any) -> np.ndarray:
    """(H, W) labels of an image message, without the padding of its rows."""
    if message.encoding not in _SAMPLES:
        raise ValueError(f"encoding {message.encoding!r} is none of {', '.join(_SAMPLES)}")
    samples = np.dtype((">" if message.is_bigendian else "<") + _SAMPLES[message.encoding])
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width * samples.itemsize].copy().view(samples)
