# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One storage file of a recording, whole or broken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from referdino_core.user_files import legible

CDR = "cdr"
"""How ROS 2 serialises messages."""


@dataclass(frozen=True)
class Channel:
    """A recorded topic.

    Attributes:
        topic: its name.
        type_name: such as "sensor_msgs/msg/Image".
        definition: of the message type, as the recording holds it; empty where it does not.
        qos: the publishers' quality of service, as rosbags reads it.
        encoding: of the messages' bytes: "cdr", or what another program wrote.
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
        channel: where.
        time: when, in integer nanoseconds.
        data: serialised (CDR).
    """

    channel: Channel
    time: int
    data: bytes


class Unreadable(Exception):
    """A storage file is not what its name says, or nothing of it can be read."""


class Storage(ABC):
    """A storage file, which may be read more than once; it is open only while it is read.

    Attributes:
        path: of the file.
        channels: every topic in it.
        counts: messages per topic; empty where they are not known without reading everything.
        announced: messages per topic that the file's own statistics announce; empty without any.
    """

    channels: tuple[Channel, ...]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self.announced: dict[str, int] = {}
        self._told: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        """What is wrong with the file, as far as it was read."""
        return list(self._told)

    def tell(self, problem: str) -> None:
        """Note what is wrong: a sentence without its subject, the file."""
        self._told[f"{legible(self.path.name)} {problem}"] = None

    @abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The messages of these topics in the order of their times, as far as they can be read."""


def offered_qos(text: str) -> tuple[Any, ...]:
    """The quality of service that a recording holds of a topic; empty where it makes no sense."""
    from rosbags.rosbag2.metadata import parse_qos

    try:
        return tuple(parse_qos(text))
    except Exception:  # rosbags and its YAML reader have errors of their own
        return ()
