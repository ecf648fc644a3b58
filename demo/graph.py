# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Names on the demo's ROS graph, and the format in which processes report publications."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

NODE = "referdino"
IMAGE_TOPIC = "camera/image_raw"
COMMAND_TOPIC = f"{NODE}/command"
OBJECTS_TOPIC = f"{NODE}/objects"

Kind = Literal["frame", "command"]

_LINE = re.compile(r"published (frame|command) (\d+) (\d+)")


@dataclass(frozen=True)
class Publication:
    """A published message, reported on standard output.

    Attributes:
        kind: "frame" or "command".
        number: of the frame in its source, or of the command in the schedule, from 0.
        stamp: nanoseconds of the clock: a frame's header stamp, or when a command was published.
    """

    kind: Kind
    number: int
    stamp: int

    def announce(self) -> None:
        """Print it as a line on standard output."""
        print(f"published {self.kind} {self.number} {self.stamp}", flush=True)

    @staticmethod
    def parse(line: str) -> Publication | None:
        """Parse a line by `announce`; None for other lines."""
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        kind, number, stamp = match.groups()
        return Publication(cast(Kind, kind), int(number), int(stamp))
