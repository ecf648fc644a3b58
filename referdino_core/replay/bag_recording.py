# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images and commands of a rosbag2 recording."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.messages.compressed_images import compressed_image_to_rgb
from referdino_core.messages.images import image_to_rgb
from referdino_core.replay.bag import Bag
from referdino_core.replay.message_types import message_types
from referdino_core.replay.recording import (
    NANOSECONDS,
    Event,
    RecordedCommand,
    RecordedFrame,
    Recording,
)
from referdino_core.replay.result_bag import RESULT_TYPES
from referdino_core.replay.storage import CDR, Channel, RawMessage

COMMAND_TOPIC = "/referdino/command"
"""Of the node under its own name."""

_CONVERSIONS: dict[str, Callable[[Any], np.ndarray]] = {
    "sensor_msgs/msg/Image": image_to_rgb,
    "sensor_msgs/msg/CompressedImage": compressed_image_to_rgb,
}
_TEXT_TYPE = "std_msgs/msg/String"
_OWN_TOPICS = frozenset({*RESULT_TYPES, "/referdino/overlay"})


class BagRecording(Recording):
    """A rosbag2 recording, of which only the requested topics are read."""

    kind = "bag"
    frame_rate = None

    def __init__(
        self,
        path: Path,
        topic: str | None = None,
        command_topic: str | None = None,
        follow_commands: bool = False,
        inputs: Collection[str] | None = None,
        truth_topic: str | None = None,
    ) -> None:
        """Open a recording.

        Args:
            topic: of the images; None for the only one there is.
            command_topic: None for the node's own, if it was recorded.
            follow_commands: whether texts on the command topic become commands.
            inputs: topics to copy; None for images and commands.
            truth_topic: topic of label images, which is not the camera's.

        Raises:
            SourceError: this is not a recording, or a topic is missing or of another type.
        """
        self._bag = Bag(path)
        self._noted: dict[str, None] = {}
        try:
            self._image = self._choose_image(topic, truth_topic)
            if follow_commands:
                self.command_topic = self._choose_commands(command_topic)
            chosen = (self._image.topic, self.command_topic)
            copied = chosen if inputs is None else self._known(inputs)
            self._copied = frozenset(topic for topic in copied if topic is not None)
        except SourceError:
            self._bag.close()
            raise
        self.topic = self._image.topic
        self.inputs = tuple(one for one in self._bag.channels if one.topic in self._copied)
        self.frame_count = self._bag.counts.get(self.topic)

    @property
    def problems(self) -> list[str]:
        """Problems found so far."""
        return [*self._bag.problems, *self._noted]

    def events(self) -> Iterator[Event]:
        index, latest = 0, 0
        wanted = {self._image.topic, *self._copied}
        if self.command_topic is not None:
            wanted.add(self.command_topic)
        for message in self._bag.messages(wanted):
            # Messages of a broken file may be out of order; nothing arrives before the past.
            latest = max(latest, message.time)
            channel = message.channel
            if channel.topic in self._copied:
                yield message
            if channel.topic == self._image.topic and channel.type_name == self._image.type_name:
                yield self._frame(message, index, latest)
                index += 1
            elif channel.topic == self.command_topic and channel.type_name == _TEXT_TYPE:
                yield from self._command(message, latest)
        if not index:
            raise SourceError(f"{self._bag.path} has not a single image on {self._image.topic}.")

    def close(self) -> None:
        self._bag.close()

    def _frame(self, raw: RawMessage, index: int, arrival: int) -> RecordedFrame:
        try:
            message = message_types().deserialize_cdr(raw.data, raw.channel.type_name)
        except Exception as error:  # rosbags, NumPy and struct have errors of their own
            reason = f"The message of frame {index} is damaged: {' '.join(str(error).split())}."
            return RecordedFrame(index, arrival, None, arrival, None, partial(_refuse, reason))
        time = message.header.stamp
        # The same sum as the node's, so that stamps are the same to the bit.
        seconds = time.sec + time.nanosec * 1e-9 or None
        stamp = time.sec * NANOSECONDS + time.nanosec if seconds else arrival
        convert = partial(_convert, message, raw.channel.type_name)
        return RecordedFrame(index, stamp, seconds, arrival, message.header, convert)

    def _command(self, raw: RawMessage, time: int) -> Iterator[RecordedCommand]:
        try:
            text = message_types().deserialize_cdr(raw.data, _TEXT_TYPE).data
        except Exception as error:  # see _frame
            reason = " ".join(str(error).split())
            self._noted[f"A message of {self.command_topic} is not text: {reason}"] = None
            return
        yield RecordedCommand(time, text)

    def _choose_image(self, topic: str | None, truth_topic: str | None) -> Channel:
        images = [
            channel
            for channel in self._bag.channels
            if _holds_images(channel)
            and channel.topic != truth_topic
            and channel.topic not in _OWN_TOPICS
        ]
        if topic is None:
            counts = self._bag.counts
            # Recorders list topics on which nothing came.
            images = [one for one in images if counts.get(one.topic, 1)] or images
            if len({channel.topic for channel in images}) == 1:
                return images[0]
            names = ", ".join(sorted({channel.topic for channel in images}))
            raise SourceError(
                f"{self._bag.path} has several image topics; give the topic, for a replay "
                f"choose one with --topic: {names}."
                if images
                else f"{self._bag.path} has no image topic; its topics: {self._listed()}."
            )
        for channel in self._bag.channels:
            if channel.topic == topic and _holds_images(channel):
                return channel
        self._known([topic])
        raise SourceError(f"{topic} holds no images; its type is {self._type_of(topic)}.")

    def _choose_commands(self, topic: str | None) -> str | None:
        if topic is None:
            return COMMAND_TOPIC if self._type_of(COMMAND_TOPIC) == _TEXT_TYPE else None
        self._known([topic])
        if self._type_of(topic) != _TEXT_TYPE:
            raise SourceError(f"{topic} is {self._type_of(topic)}, and commands are {_TEXT_TYPE}.")
        return topic

    def _known(self, topics: Collection[str]) -> Collection[str]:
        encodings = {one.topic: one.encoding for one in self._bag.channels}
        for topic in topics:
            if topic not in encodings:
                raise SourceError(
                    f"{self._bag.path} has no topic {topic}; its topics: {self._listed()}."
                )
            if encodings[topic] != CDR:
                raise SourceError(
                    f"{topic} is serialised as {encodings[topic] or 'nothing known'}, and messages "
                    f"of ROS 2 are {CDR}."
                )
        return topics

    def _type_of(self, topic: str) -> str | None:
        return next((one.type_name for one in self._bag.channels if one.topic == topic), None)

    def _listed(self) -> str:
        return ", ".join(sorted({channel.topic for channel in self._bag.channels})) or "none"


def _holds_images(channel: Channel) -> bool:
    return channel.type_name in _CONVERSIONS and channel.encoding == CDR


def _convert(message: Any, type_name: str) -> np.ndarray:
    # Some conversions give a view of the message, which cannot be written to.
    return np.require(_CONVERSIONS[type_name](message), requirements=["C", "W"])


def _refuse(reason: str) -> np.ndarray:
    raise ImageError(reason)
