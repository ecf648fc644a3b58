# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Base of the storage files of a recording: channels, raw messages, tolerant reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from referdino_core.user_files import legible

CDR = "cdr"
"""Serialization of ROS 2 messages."""


@dataclass(frozen=True)
class Channel:
    """A recorded topic.

    Attributes:
        topic: its name.
        type_name: such as "sensor_msgs/msg/Image".
        definition: of the message type, as recorded; "" if it is not.
        qos: the publishers' quality of service, as rosbags reads it.
        encoding: serialization of the messages: "cdr", or that of another program.
    """

    topic: str
    type_name: str
    definition: str = ""
    qos: tuple[Any, ...] = field(default=(), compare=False)
    encoding: str = CDR


@dataclass(frozen=True)
class RawMessage:
    """A message as it was recorded.

    Attributes:
        channel: the topic it was recorded on.
        time: when it was recorded, in integer nanoseconds.
        data: serialized message (CDR).
    """

    channel: Channel
    time: int
    data: bytes


class Unreadable(Exception):
    """A storage file is of another kind than its name says, or nothing of it can be read."""


class Storage(ABC):
    """A storage file that can be read repeatedly; it is open only while it is read.

    Attributes:
        path: of the file.
        channels: every topic in it.
        counts: messages per topic; empty if unknown without reading everything.
        announced: messages per topic according to the file's own statistics; empty without any.
    """

    channels: tuple[Channel, ...]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self.announced: dict[str, int] = {}
        self._problems: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        """Problems of the file, as far as it was read."""
        return list(self._problems)

    def note_problem(self, problem: str) -> None:
        """Add a problem: a sentence without its subject, the file."""
        self._problems[f"{legible(self.path.name)} {problem}"] = None

    @abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The messages of these topics in order of time, as far as they can be read."""


def offered_qos(text: str) -> tuple[Any, ...]:
    """The recorded quality of service of a topic; empty if it cannot be parsed."""
    from rosbags.rosbag2.metadata import parse_qos

    try:
        return tuple(parse_qos(text))
    except Exception:  # rosbags and its YAML reader have errors of their own
        return ()
