# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One storage file of a recording, whole or broken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Channel:
    """A recorded topic.

    Attributes:
        topic: its name.
        type_name: such as "sensor_msgs/msg/Image".
        definition: of the message type, as the recording holds it; empty where it does not.
        qos: the publishers' quality of service, as rosbags reads it.
    """

    topic: str
    type_name: str
    definition: str = ""
    qos: tuple[Any, ...] = field(default=(), compare=False)


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
    """A storage file, which may be read more than once.

    Attributes:
        channels: every topic in it.
        counts: messages per topic; empty where they are not known.
        problem: what is wrong with the file, or an empty text; may come up while it is read.
    """

    channels: tuple[Channel, ...]
    counts: dict[str, int]
    problem: str = ""

    @abstractmethod
    def messages(self, topics: Collection[str]) -> Iterator[RawMessage]:
        """The messages of these topics in the order of their times, up to the end or the break."""

    @abstractmethod
    def close(self) -> None:
        """Release the file."""
