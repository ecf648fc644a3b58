# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Notices that a node takes its time from `/clock` and that this time stands still."""

from __future__ import annotations

import time

from rclpy.clock import ROSClock
from rclpy.node import Node

CLOCK_TOPIC = "/clock"
PATIENCE = 3.0
"""Seconds for which the time may stand still without a warning."""


class ClockWatch:
    """Whether the time of a node with `use_sim_time` goes on.

    Args:
        node: whose clock is watched, and whose logger is told once per standstill.

    Attributes:
        complaint: what is wrong and what to do, or an empty text.
    """

    def __init__(self, node: Node) -> None:
        self.complaint = ""
        self._node = node
        self._seen: int | None = None
        self._since = time.monotonic()

    def look(self) -> None:
        """Compare with the look before; call this about once per second, by a steady clock."""
        clock = self._node.get_clock()
        simulated = isinstance(clock, ROSClock) and clock.ros_time_is_active
        seen = clock.now().nanoseconds if simulated else None
        if seen is None or seen != self._seen:
            self._seen, self._since, self.complaint = seen, time.monotonic(), ""
            return
        if self.complaint or time.monotonic() - self._since < PATIENCE:
            return
        publishers = self._node.count_publishers(CLOCK_TOPIC)
        cause = f"publishers: {publishers}" if publishers else "nobody publishes it"
        self.complaint = (
            f"use_sim_time is true, but {CLOCK_TOPIC} is silent ({cause}): the node's time stands "
            f"still at {seen * 1e-9:.3f} s. Let the simulator run, play bags with "
            "`ros2 bag play --clock`, or set use_sim_time to false."
        )
        self._node.get_logger().warning(self.complaint)
