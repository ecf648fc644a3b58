# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings for the tests of replay: the demo's scene as bags of every kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from referdino_core.evaluation.recorded_scene import BUNDLED
from referdino_core.media.sources import open_source
from referdino_core.messages import run_lengths
from referdino_core.replay.message_types import header_message, image_message, message_types

SCENE = BUNDLED
START = 1_700_000_000 * 10**9
"""Nanoseconds at which every sample begins."""
PERIOD = 10**8
IMAGE_TOPIC, COMMAND_TOPIC, TRUTH_TOPIC = "/camera/image_raw", "/referdino/command", "/truth/labels"
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
TEXT = "std_msgs/msg/String"
TYPES = message_types()


@dataclass(frozen=True)
class Sample:
    """A message to be recorded: topic, nanoseconds from the start, type, message."""

    topic: str
    time: int
    kind: str
    message: Any


@cache
def scene_images(count: int) -> tuple[np.ndarray, ...]:
    """The first images of the demo's scene, (240, 320, 3) RGB."""
    with open_source(str(SCENE / "scene.mp4")) as source:
        return tuple(frame.image for frame, _ in zip(source, range(count), strict=False))


@cache
def scene_labels(count: int) -> tuple[np.ndarray, ...]:
    """The ground truth of those images, (240, 320) uint8."""
    truth = json.loads((SCENE / "truth.json").read_text(encoding="utf-8"))
    images = []
    for masks in truth["masks"][:count]:
        labels = np.zeros((truth["height"], truth["width"]), np.uint8)
        for number, counts in enumerate(masks, start=1):
            labels[run_lengths.decode(counts, *labels.shape)] = number
        images.append(labels)
    return tuple(images)


def header(time: int) -> Any:
    return header_message(START + time, "camera")


def image(
    pixels: np.ndarray, time: int, encoding: str = "rgb8", topic: str = IMAGE_TOPIC
) -> Sample:
    """A raw image of (H, W) or (H, W, C) samples."""
    return Sample(topic, time, IMAGE, image_message(pixels, encoding, header(time)))


def compressed_image(pixels: np.ndarray, time: int, kind: str = "jpeg") -> Sample:
    data = cv2.imencode(f".{kind}", pixels[..., ::-1])[1].reshape(-1)
    message = TYPES.types[COMPRESSED](header=header(time), format=kind, data=data)
    return Sample(f"{IMAGE_TOPIC}/compressed", time, COMPRESSED, message)


def text(sentence: str, time: int, topic: str = COMMAND_TOPIC) -> Sample:
    return Sample(topic, time, TEXT, TYPES.types[TEXT](data=sentence))


def scene(count: int, with_truth: bool = False) -> list[Sample]:
    """The scene as a camera at 10 Hz recorded it, and label images on a topic of their own."""
    samples = [image(one, place * PERIOD) for place, one in enumerate(scene_images(count))]
    if with_truth:
        samples += [
            image(one, place * PERIOD, "mono8", TRUTH_TOPIC)
            for place, one in enumerate(scene_labels(count))
        ]
    return samples


def split_bag(path: Path, parts: Iterable[Path]) -> Path:
    """A bag of several files, made of bags of one file each."""
    path.mkdir()
    metadata = None
    for number, part in enumerate(parts):
        (file,) = (one for one in part.iterdir() if one.name != "metadata.yaml")
        name = f"{path.name}_{number}{file.suffix}"
        shutil.copy(file, path / name)
        found = yaml.safe_load((part / "metadata.yaml").read_text())
        metadata = metadata or found
        information = metadata["rosbag2_bagfile_information"]
        information["relative_file_paths"][number:] = [name]
        if found is not metadata:
            _add_counts(information, found["rosbag2_bagfile_information"])
    (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return path


def _add_counts(information: dict[str, Any], of_part: dict[str, Any]) -> None:
    """Count the messages of one more file, which has the same topics."""
    information["message_count"] += of_part["message_count"]
    name = "topics_with_message_count"
    for total, part in zip(information[name], of_part[name], strict=True):
        total["message_count"] += part["message_count"]


def write_bag(
    path: Path,
    samples: Iterable[Sample],
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write samples in the order of their times; returns the folder."""
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for sample in sorted(samples, key=lambda one: one.time):
            if sample.topic not in connections:
                connections[sample.topic] = writer.add_connection(
                    sample.topic, sample.kind, typestore=TYPES
                )
            data = TYPES.serialize_cdr(sample.message, sample.kind)
            writer.write(connections[sample.topic], START + sample.time, data)
    return path
