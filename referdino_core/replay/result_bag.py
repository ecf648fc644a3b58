# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Bag of the node's result topics: MCAP, with the definitions of all its messages."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from referdino_core.files import Output, OutputError, temporary_path
from referdino_core.messages.compressed_images import JPEG_FORMAT, jpeg_of
from referdino_core.messages.results import (
    Verdict,
    detections_message,
    label_image,
    objects_message,
)
from referdino_core.replay.message_types import image_message, message_types
from referdino_core.replay.storage import Channel, RawMessage
from referdino_core.target import Judgement

if TYPE_CHECKING:
    from referdino_core.target import Target

OBJECTS_TOPIC = "/referdino/objects"
MASK_TOPIC = "/referdino/mask"
OVERLAY_TOPIC = "/referdino/overlay/compressed"
DETECTIONS_TOPIC = "/referdino/detections"
RESULT_TYPES = {
    OBJECTS_TOPIC: "referdino/msg/ReferredObjectArray",
    MASK_TOPIC: "sensor_msgs/msg/Image",
    OVERLAY_TOPIC: "sensor_msgs/msg/CompressedImage",
    DETECTIONS_TOPIC: "vision_msgs/msg/Detection2DArray",
}

_JPEG_QUALITY = 80


class ResultBag(Output):
    """A bag that appears under its final name when it is closed.

    Output is reproducible: the same messages in the same order give the same bytes.
    """

    def __init__(self, path: Path, inputs: Iterable[Channel] = ()) -> None:
        """Open the bag.

        Args:
            inputs: channels whose messages will be copied.

        Raises:
            OutputError: the file cannot be written, or the type of an input is unknown.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self._path = path
        self._stream = 1
        # rosbags writes a folder; the one file in it is the bag.
        self._folder = temporary_path(path).with_suffix("")
        self._types = message_types()
        self._inputs: dict[tuple[str, str], Any] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._writer = Writer(
                self._folder, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP
            )
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        self._results = {
            topic: self._writer.add_connection(topic, name, typestore=self._types)
            for topic, name in RESULT_TYPES.items()
        }
        for channel in inputs:
            self._add_input(channel)

    def copy(self, message: RawMessage) -> None:
        """Copy a message of an input unchanged.

        Raises:
            OutputError: the disk does not take it.
        """
        key = message.channel.topic, message.channel.type_name
        self._write(self._inputs[key], message.time, message.data)

    def write(
        self,
        time: int,
        header: Any,
        drawn: np.ndarray,
        targets: Sequence[Target],
        verdict: Verdict,
    ) -> None:
        """Write the messages that the node would publish for one image.

        Args:
            time: integer nanoseconds at which it is published.
            header: of the image, as rosbags has it.
            drawn: (H, W, 3) uint8 RGB, the image with the targets drawn over it.
            targets: of the session, with masks (H, W).
            verdict: on the result as a whole.

        Raises:
            OutputError: the disk does not take it.
        """
        height, width = drawn.shape[:2]
        self.write_objects(time, header, targets, verdict)
        labels = label_image(targets, height, width)
        self._write_message(MASK_TOPIC, time, image_message(labels, "mono8", header))
        self._write_message(OVERLAY_TOPIC, time, self._overlay(header, drawn))
        detections = detections_message(self._make, header, targets)
        self._write_message(DETECTIONS_TOPIC, time, detections)

    def write_objects(
        self, time: int, header: Any, targets: Sequence[Target], verdict: Verdict
    ) -> None:
        """Write `~/objects` alone, for an image that could not be read.

        Raises:
            OutputError: the disk does not take it.
        """
        self._stream += verdict.judgement is Judgement.RESET
        message = objects_message(
            self._make, header, targets, replace(verdict, stream=self._stream)
        )
        self._write_message(OBJECTS_TOPIC, time, message)

    def close(self) -> None:
        """Finish the bag and rename it to its final name.

        Raises:
            OutputError: the disk does not take it.
        """
        self.finish()
        self.commit()

    def finish(self) -> None:
        """Finish the bag under its temporary name.

        Raises:
            OutputError: the disk does not take it.
        """
        try:
            self._writer.close()
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from error

    def commit(self) -> None:
        """Rename the finished bag to its final name.

        Raises:
            OutputError: it cannot be renamed.
        """
        try:
            next(self._folder.glob("*.mcap")).replace(self._path)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from error
        shutil.rmtree(self._folder, ignore_errors=True)

    def discard(self) -> None:
        """Discard the bag and remove what was written of it."""
        self._writer.abort()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _add_input(self, channel: Channel) -> None:
        key = channel.topic, channel.type_name
        if key in self._inputs:
            return  # another file of the recording defines it in other words
        try:
            types, definition = _types_of(channel)
            self._inputs[key] = self._writer.add_connection(
                channel.topic,
                channel.type_name,
                msgdef=definition or types.generate_msgdef(channel.type_name, ros_version=2)[0],
                rihs01=types.hash_rihs01(channel.type_name),
                offered_qos_profiles=channel.qos,
            )
        except Exception as error:  # rosbags has many ways to complain about a definition
            self.discard()
            raise OutputError(
                f"{channel.topic} cannot be copied: the recording does not define its type "
                f"{channel.type_name} ({' '.join(str(error).split())}). Leave it out of --inputs."
            ) from error

    def _write_message(self, topic: str, time: int, message: Any) -> None:
        data = self._types.serialize_cdr(message, RESULT_TYPES[topic])
        self._write(self._results[topic], time, data)

    def _write(self, connection: Any, time: int, data: bytes) -> None:
        try:
            self._writer.write(connection, time, data)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from error

    def _make(self, name: str, **fields: Any) -> Any:
        return self._types.types[name](**fields)

    def _overlay(self, header: Any, drawn: np.ndarray) -> Any:
        jpeg = jpeg_of(drawn, _JPEG_QUALITY)
        return self._make(RESULT_TYPES[OVERLAY_TOPIC], header=header, format=JPEG_FORMAT, data=jpeg)


def _types_of(channel: Channel) -> tuple[Any, str]:
    """A type store with the channel's type, and its definition as text ("" if not recorded)."""
    if not channel.definition:
        return message_types(), ""
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    # Its own definitions come first; common types are there for those that it leaves out.
    definitions: dict[str, Any] = dict(message_types().fielddefs)
    separator = "=" * 80 + "\n"
    if channel.definition.startswith(f"{separator}IDL: "):
        for part in channel.definition.split(separator)[1:]:
            definitions.update(get_types_from_idl(part.split("\n", 1)[1]))
    else:
        definitions.update(get_types_from_msg(channel.definition, channel.type_name))
    types = get_typestore(Stores.EMPTY)
    types.register(definitions)
    return types, channel.definition
