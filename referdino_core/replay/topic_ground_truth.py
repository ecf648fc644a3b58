# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth from a topic: label images, matched with camera images by their stamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.evaluation.ground_truth.base import FrameGroundTruth, GroundTruth
from referdino_core.replay.bag import Bag
from referdino_core.replay.message_types import message_types
from referdino_core.replay.recording import NANOSECONDS

_IMAGE_TYPE = "sensor_msgs/msg/Image"
_SAMPLES = {"mono8": "u1", "8UC1": "u1", "mono16": "u2", "16UC1": "u2"}
_WAITING = 64
"""Maximum number of label images buffered for later frames."""


class TopicGroundTruth(GroundTruth):
    """Label images of a topic (0 background, otherwise an object id), 8 or 16 bits.

    The topic is read along with the frames, whose stamps may jump back. If a stamp repeats, its
    label images are assigned to its frames in order, which is wrong only if one of them was lost.
    """

    def __init__(self, path: Path, topic: str) -> None:
        """Open the topic and scan it once for stamps and objects.

        Raises:
            SourceError: the recording has no such topic, or it holds no label images.
        """
        super().__init__(f"label images on {topic}")
        self._bag = Bag(path)
        self._topic = topic
        self._places: dict[int, deque[int]] = {}
        try:
            self._objects = self._look_through(path)
        except SourceError:
            self._bag.close()
            raise
        self._coming: Iterator[tuple[int, np.ndarray]] = self._images(noting=False)
        self._next_place = 0
        self._read: dict[int, np.ndarray] = {}

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of all objects in any image."""
        return self._objects

    def at(self, index: int, stamp: int) -> FrameGroundTruth | None:
        """Ground truth of the frame with that stamp; None if the topic has none."""
        places = self._places.get(stamp)
        if not places:
            return None
        labels = self._labels_at(places.popleft())
        if labels is None:
            return None
        return FrameGroundTruth(
            masks={number: labels == number for number in self._objects}, size=labels.shape
        )

    def close(self) -> None:
        """Report label images without a frame, and release the recording."""
        for stamp, places in self._places.items():
            seconds, nanoseconds = divmod(stamp, NANOSECONDS)
            for _ in places:
                self.note(
                    "a label image has the stamp of no frame", f"{seconds}.{nanoseconds:09} s"
                )
        self._places.clear()
        self._coming = iter(())
        self._read.clear()
        self._bag.close()

    def _look_through(self, path: Path) -> tuple[int, ...]:
        """Index every image by its stamp; returns the ids of all objects."""
        types = {one.type_name for one in self._bag.channels if one.topic == self._topic}
        if types != {_IMAGE_TYPE}:
            found = f"its type is {', '.join(sorted(types))}" if types else "there is none"
            raise SourceError(f"{self._topic} of {path} must be a topic of {_IMAGE_TYPE}; {found}.")
        objects: set[int] = set()
        place = -1
        for place, (stamp, labels) in enumerate(self._images(noting=True)):
            self._places.setdefault(stamp, deque()).append(place)
            objects.update(np.unique(labels).tolist())
        if place < 0:
            found = self.problems[0] if self.problems else "it has not a single message"
            raise SourceError(f"{self._topic} of {path} holds no label images; {found}.")
        return tuple(sorted(objects - {0}))

    def _labels_at(self, place: int) -> np.ndarray | None:
        """The image at a position on the topic; None if it has left the buffer."""
        while self._next_place <= place:
            following = next(self._coming, None)
            if following is None:
                return None
            self._read[self._next_place] = following[1]
            self._next_place += 1
            if len(self._read) > _WAITING:
                del self._read[min(self._read)]
        return self._read.pop(place, None)

    def _images(self, noting: bool) -> Iterator[tuple[int, np.ndarray]]:
        """Stamps (nanoseconds) and labels (H, W)."""
        for raw in self._bag.messages({self._topic}):
            try:
                message = message_types().deserialize_cdr(raw.data, _IMAGE_TYPE)
                stamp = message.header.stamp
                time = stamp.sec * NANOSECONDS + stamp.nanosec
                labels = _labels(message)
            except Exception as error:  # rosbags, NumPy and struct have errors of their own
                if noting:
                    self.note("a label image cannot be read", " ".join(str(error).split()))
            else:
                yield time, labels


def _labels(message: Any) -> np.ndarray:
    """(H, W) labels of an image message, without the padding of its rows."""
    if message.encoding not in _SAMPLES:
        raise ValueError(f"encoding {message.encoding!r} is none of {', '.join(_SAMPLES)}")
    samples = np.dtype((">" if message.is_bigendian else "<") + _SAMPLES[message.encoding])
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, : message.width * samples.itemsize].copy().view(samples)
