# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How camera and commander tell the demo, on standard output, what they published and when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

Kind = Literal["frame", "command"]

_LINE = re.compile(r"published (frame|command) (\d+) (\d+)")


@dataclass(frozen=True)
class Publication:
    """One message on the graph.

    Attributes:
        kind: "frame" or "command".
        number: of the frame in its source, or of the command in the schedule, from 0.
        stamp: nanoseconds of the clock: a frame's header stamp, or when a command was published.
    """

    kind: Kind
    number: int
    stamp: int

    def announce(self) -> None:
        """Print it as a line."""
        print(f"published {self.kind} {self.number} {self.stamp}", flush=True)

    @staticmethod
    def parse(line: str) -> Publication | None:
        """The publication that a line tells of, or None for any other line."""
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        kind, number, stamp = match.groups()
        return Publication(cast(Kind, kind), int(number), int(stamp))
