# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node's result topics in a bag: MCAP, with the definitions of all messages in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from referdino_core.media import run_lengths
from referdino_core.media.compressed_image_messages import JPEG_FORMAT, jpeg_of
from referdino_core.media.partial_file import Output, OutputError, growing_path
from referdino_core.media.result_contents import detections_of, label_image, region_around
from referdino_core.replay.message_types import image_message, message_types
from referdino_core.replay.storage import Channel, RawMessage

if TYPE_CHECKING:
    from referdino_core.session import Target

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
_COVARIANCE_SIZE = 36


class ResultBag(Output):
    """A bag that appears under its name when it is closed.

    The same messages in the same order give the same bytes.
    """

    def __init__(self, path: Path, inputs: Iterable[Channel] = ()) -> None:
        """Open the bag.

        Args:
            inputs: what will be copied.

        Raises:
            OutputError: the place cannot be written, or nobody knows the type of an input.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self._path = path
        # rosbags writes a folder; the one file in it is the bag.
        self._folder = growing_path(path).with_suffix("")
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
        """Write a message of an input as it is.

        Raises:
            OutputError: the disk does not take it.
        """
        key = message.channel.topic, message.channel.type_name
        self._write(self._inputs[key], message.time, message.data)

    def write(self, time: int, header: Any, picture: np.ndarray, targets: Sequence[Target]) -> None:
        """Write what the node would publish for one image.

        Args:
            time: integer nanoseconds at which it is published.
            header: of the image, as rosbags has it.
            picture: (H, W, 3) uint8 RGB, the image with the targets drawn over it.
            targets: the session's answer, with masks (H, W).

        Raises:
            OutputError: the disk does not take it.
        """
        height, width = picture.shape[:2]
        self._write_message(OBJECTS_TOPIC, time, self._objects(header, targets))
        labels = label_image(targets, height, width)
        self._write_message(MASK_TOPIC, time, image_message(labels, "mono8", header))
        self._write_message(OVERLAY_TOPIC, time, self._overlay(header, picture))
        self._write_message(DETECTIONS_TOPIC, time, self._detections(header, targets))

    def close(self) -> None:
        """Finish the bag and give it its name.

        Raises:
            OutputError: the disk does not take it.
        """
        self.finish()
        self.commit()

    def finish(self) -> None:
        """Finish the bag under its hidden name.

        Raises:
            OutputError: the disk does not take it.
        """
        try:
            self._writer.close()
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from error

    def commit(self) -> None:
        """Give the finished bag its name.

        Raises:
            OutputError: it cannot be renamed.
        """
        try:
            next(self._folder.glob("*.mcap")).replace(self._path)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from error
        shutil.rmtree(self._folder, ignore_errors=True)

    def discard(self) -> None:
        """Give the bag up and remove what was written of it."""
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

    def _of(self, name: str, **values: Any) -> Any:
        return self._types.types[name](**values)

    def _objects(self, header: Any, targets: Sequence[Target]) -> Any:
        return self._of(
            RESULT_TYPES[OBJECTS_TOPIC],
            header=header,
            objects=[self._object(target) for target in targets],
        )

    def _object(self, target: Target) -> Any:
        name = "referdino/msg/ReferredObject"
        height, width = target.mask.shape
        region = asdict(region_around(target.box, height, width))
        counts = run_lengths.encode(target.mask)
        return self._of(
            name,
            command_id=target.command_id,
            command=target.command,
            track_id=target.track_id,
            state=getattr(self._types.types[name], target.state.name),
            score=target.score,
            frame_score=target.frame_score,
            box=self._of("sensor_msgs/msg/RegionOfInterest", **region, do_rectify=False),
            mask=self._of("referdino/msg/RunLengthMask", height=height, width=width, counts=counts),
        )

    def _overlay(self, header: Any, picture: np.ndarray) -> Any:
        jpeg = jpeg_of(picture, _JPEG_QUALITY)
        return self._of(RESULT_TYPES[OVERLAY_TOPIC], header=header, format=JPEG_FORMAT, data=jpeg)

    def _detections(self, header: Any, targets: Sequence[Target]) -> Any:
        detections = []
        for seen in detections_of(targets):
            x, y = seen.centre
            position = self._of("vision_msgs/msg/Point2D", x=x, y=y)
            size_x, size_y = seen.size
            hypothesis = self._of(
                "vision_msgs/msg/ObjectHypothesis", class_id=seen.sentence, score=seen.score
            )
            result = self._of(
                "vision_msgs/msg/ObjectHypothesisWithPose",
                hypothesis=hypothesis,
                pose=self._unknown_pose(),
            )
            box = self._of(
                "vision_msgs/msg/BoundingBox2D",
                center=self._of("vision_msgs/msg/Pose2D", position=position, theta=0.0),
                size_x=size_x,
                size_y=size_y,
            )
            detections.append(
                self._of(
                    "vision_msgs/msg/Detection2D",
                    header=header,
                    results=[result],
                    bbox=box,
                    id=seen.track_id,
                )
            )
        return self._of(RESULT_TYPES[DETECTIONS_TOPIC], header=header, detections=detections)

    def _unknown_pose(self) -> Any:
        """What a message holds where no pose is set."""
        position = self._of("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
        orientation = self._of("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
        return self._of(
            "geometry_msgs/msg/PoseWithCovariance",
            pose=self._of("geometry_msgs/msg/Pose", position=position, orientation=orientation),
            covariance=np.zeros(_COVARIANCE_SIZE),
        )


def _types_of(channel: Channel) -> tuple[Any, str]:
    """Types that hold the channel's own, and its definition as text, where the recording has it."""
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
