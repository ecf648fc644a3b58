# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Camera process of the demo, which publishes the images of a source in real time."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from demo import DemoError
from demo.graph import IMAGE_TOPIC, NODE, Publication
from referdino_core.errors import ReferDINOError
from referdino_core.media.sources import Frame, open_source, quiet_opencv
from referdino_core.media.writers import VideoWriter
from referdino_ros.messages import image_message

FRAME_ID = "camera_optical_frame"
SUBSCRIBER_PATIENCE = 120.0
_GRAPH_POLL = 0.05
_MAX_LATE = 0.2  # seconds; beyond it the schedule is shifted, for sources slower than real time
_BILLION = 1_000_000_000


class CameraNode(Node):
    """Camera node, which publishes frames with the source's stamps mapped to the clock."""

    def __init__(self) -> None:
        super().__init__("camera")
        # Reliable: best effort loses large images where the kernel's receive buffer is small.
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._publisher = self.create_publisher(Image, f"/{IMAGE_TOPIC}", qos)

    def wait_for_subscriber(self) -> None:
        """Wait until the node subscribes, which it does while it is active.

        Raises:
            DemoError: it did not within two minutes.
        """
        deadline = time.monotonic() + SUBSCRIBER_PATIENCE
        topic = self._publisher.topic_name
        while NODE not in {info.node_name for info in self.get_subscriptions_info_by_topic(topic)}:
            if time.monotonic() > deadline:
                raise DemoError(f"The node did not subscribe to {topic}; is it active?")
            time.sleep(_GRAPH_POLL)

    def play(self, frames: Iterable[Frame]) -> None:
        """Publish each frame when it is due."""
        start: int | None = None
        for frame in frames:
            stamp = round(frame.stamp * _BILLION)
            now = self.get_clock().now().nanoseconds
            if start is None or now - (start + stamp) > _MAX_LATE * _BILLION:
                start = now - stamp
            time.sleep(max(0, start + stamp - now) / _BILLION)
            header = Header(frame_id=FRAME_ID)
            header.stamp = Time(nanoseconds=start + stamp).to_msg()
            self._publisher.publish(image_message(frame.image, header))
            Publication("frame", frame.index, start + stamp).announce()
        self._publisher.wait_for_all_acked(Duration(seconds=5))


def recorded(frames: Iterable[Frame], path: Path, frame_rate: float) -> Iterator[Frame]:
    """Pass the frames on, and write them to a video."""
    with contextlib.ExitStack() as stack:
        video: VideoWriter | None = None
        for frame in frames:
            if video is None:
                height, width = frame.image.shape[:2]
                video = stack.enter_context(VideoWriter(path, frame_rate, (width, height)))
            video.write(frame.image)
            yield frame


def main() -> int:
    """Run the process; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a source as of `open_source`")
    parser.add_argument("--frame-rate", type=float, help="overrides the source's own")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="when to stop")
    parser.add_argument("--hold", action="store_true", help="wait for a line on standard input")
    parser.add_argument("--record", type=Path, help="video (.mp4) to record the images to")
    arguments = parser.parse_args()
    quiet_opencv()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    camera = CameraNode()
    try:
        camera.wait_for_subscriber()
        with open_source(arguments.source, arguments.frame_rate) as source:
            frames: Iterable[Frame] = takewhile(lambda f: f.stamp < arguments.seconds, source)
            if arguments.record is not None:
                frames = recorded(frames, arguments.record, source.frame_rate)
            if arguments.hold:
                sys.stdin.readline()
            camera.play(frames)
    except ReferDINOError as error:
        camera.get_logger().error(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
