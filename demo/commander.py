# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Commander process of the demo, which publishes text commands while the stream runs."""

from __future__ import annotations

import argparse
import json
import sys
import time

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import String

from demo.graph import COMMAND_TOPIC, IMAGE_TOPIC, Publication

_GRAPH_POLL = 0.05
_ACKNOWLEDGEMENT_PATIENCE = 5.0
_BILLION = 1_000_000_000


class CommanderNode(Node):
    """Commander node, which publishes sentences at given times after the first image."""

    def __init__(self) -> None:
        super().__init__("commander")
        # Transient-local is compatible with both of the node's subscriptions; a volatile publisher
        # also works, but is warned of the other subscription.
        qos = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = self.create_publisher(String, f"/{COMMAND_TOPIC}", qos)
        self._stream_start: int | None = None
        self._images = self.create_subscription(
            Image, f"/{IMAGE_TOPIC}", self._on_first_image, QoSProfile(depth=1)
        )

    def send(self, number: int, text: str) -> None:
        """Publish a command as soon as there is a subscription."""
        while not self._publisher.get_subscription_count():
            time.sleep(_GRAPH_POLL)
        now = self.get_clock().now().nanoseconds
        self._publisher.publish(String(data=text))
        Publication("command", number, now).announce()

    def finish(self) -> None:
        """Wait until everything that was published has arrived."""
        self._publisher.wait_for_all_acked(Duration(seconds=_ACKNOWLEDGEMENT_PATIENCE))

    def wait_until(self, seconds: float) -> None:
        """Wait until so many seconds after the stamp of the first image."""
        while self._stream_start is None:
            rclpy.spin_once(self, timeout_sec=_GRAPH_POLL)
            if self._stream_start is not None:
                self.destroy_subscription(self._images)
        due = self._stream_start + round(seconds * _BILLION)
        time.sleep(max(0, due - self.get_clock().now().nanoseconds) / _BILLION)

    def _on_first_image(self, image: Image) -> None:
        if self._stream_start is None:
            self._stream_start = Time.from_msg(image.header.stamp).nanoseconds


def main() -> int:
    """Run the process; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "schedule",
        type=json.loads,
        help="JSON: a list of [seconds, sentence] in order; 0 is before the stream starts",
    )
    schedule: list[tuple[float, str]] = parser.parse_args().schedule
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    commander = CommanderNode()
    try:
        for number, (seconds, text) in enumerate(schedule):
            if seconds > 0:
                commander.wait_until(seconds)
            commander.send(number, text)
        commander.finish()
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
