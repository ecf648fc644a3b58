# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The cameras of a node, and the topics of their images, results and commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_topic_name import validate_topic_name

from referdino_core.errors import ReferDINOError

IMAGE_TOPIC = "image_raw"
_NAME = re.compile(r"[A-Za-z](_?[A-Za-z0-9])*")


@dataclass(frozen=True)
class CameraTopics:
    """Topics of one camera.

    Attributes:
        name: of the camera; "" if the node serves a single one.
        image: topic of its images, without /compressed, before remapping.
    """

    name: str = ""
    image: str = IMAGE_TOPIC

    @property
    def namespace(self) -> str:
        """Namespace of its results and commands."""
        return f"~/{self.name}" if self.name else "~"


def camera_topics(entries: Sequence[str]) -> tuple[CameraTopics, ...]:
    """Parse the parameter `cameras`; one camera without a name if it is empty.

    Args:
        entries: NAME, whose images are on NAME/image_raw, or NAME:=TOPIC; an entry may hold several
            separated by commas, empty ones are ignored.

    Raises:
        ReferDINOError: a name or a topic is invalid or not unique.
    """
    single = [one.strip() for entry in entries for one in entry.split(",")]
    cameras = tuple(_camera(entry) for entry in single if entry)
    for what, used in (
        ("name", [camera.name for camera in cameras]),
        ("topic", [camera.image for camera in cameras]),
    ):
        for one in used:
            if used.count(one) > 1:
                raise ReferDINOError(
                    f"cameras gives the {what} {one!r} to {used.count(one)} cameras."
                )
    return cameras or (CameraTopics(),)


def _camera(entry: str) -> CameraTopics:
    name, _, topic = (part.strip() for part in entry.partition(":="))
    if not _NAME.fullmatch(name):
        raise ReferDINOError(
            f"cameras contains {entry!r}; write NAME or NAME:=TOPIC, where the name starts with a "
            "letter and has only letters, digits and single underscores."
        )
    image = topic or f"{name}/{IMAGE_TOPIC}"
    try:
        validate_topic_name(image)
    except InvalidTopicNameException as error:
        reason = " ".join(str(error).split())
        raise ReferDINOError(f"cameras contains {entry!r}, an invalid topic: {reason}") from error
    return CameraTopics(name, image)
