# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which cameras one node serves, and where their images, results and commands are."""

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
    """One camera of a node.

    Attributes:
        name: of the camera; empty where the node serves one alone.
        image: topic of its images, without /compressed, before remapping.
    """

    name: str = ""
    image: str = IMAGE_TOPIC

    @property
    def namespace(self) -> str:
        """Where its results are published and its commands are taken."""
        return f"~/{self.name}" if self.name else "~"


def camera_topics(entries: Sequence[str]) -> tuple[CameraTopics, ...]:
    """The cameras that the parameter `cameras` names; one without a name where it names none.

    Args:
        entries: NAME, whose images are on NAME/image_raw, or NAME:=TOPIC; several may stand in one
            with commas between them, empty ones do not count.

    Raises:
        ReferDINOError: a name or a topic cannot be used, or stands twice.
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
            f"cameras holds {entry!r}; write NAME or NAME:=TOPIC, with letters, digits and single "
            "underscores in the name and a letter first."
        )
    image = topic or f"{name}/{IMAGE_TOPIC}"
    try:
        validate_topic_name(image)
    except InvalidTopicNameException as error:
        reason = " ".join(str(error).split())
        raise ReferDINOError(f"cameras holds {entry!r}, whose topic is none: {reason}") from error
    return CameraTopics(name, image)
