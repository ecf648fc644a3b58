# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Overhead of the node over the session, from the publication of an image to that of its result.

    python benchmarks/node_overhead.py --size 640x480 --rate 5 --seconds 30

The node runs in this process and the camera in another, over DDS, slowly enough that no image waits
for the previous one. The overhead is the time from the stamp, which the camera sets when it
publishes, to the end of the result's publication, minus the time of `Session.step`. It includes
transport, deserialisation, threads, conversion and publication. The time of transport and rclpy
alone is measured first, with a subscription that does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import rclpy
from node_latency import NODE, SENTENCES, start_camera
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.time import Time
from sensor_msgs.msg import Image
from tqdm import tqdm

from referdino_core.session.session import Session
from referdino_ros.process import use_roomy_shared_memory
from referdino_ros.referdino_node import ReferDINONode
from referdino_ros.result_publishers import ResultPublishers

WARM_UP = 3.0  # seconds whose results are not counted


@contextlib.contextmanager
def stopwatch(overheads: list[float], steps: list[float]) -> Iterator[None]:
    """Context that records the seconds of the session, and the overhead, for every image."""
    step, publish = Session.step, ResultPublishers.publish_objects
    clock = rclpy.clock.Clock()

    def timed_step(session: Session, *inputs: Any, **named: Any) -> Any:
        began = time.perf_counter()
        targets = step(session, *inputs, **named)
        steps.append(time.perf_counter() - began)
        return targets

    def timed_publish(results: ResultPublishers, header: Any, *inputs: Any) -> None:
        publish(results, header, *inputs)
        age = (clock.now() - Time.from_msg(header.stamp, clock.clock_type)).nanoseconds * 1e-9
        overheads.append(age - steps[-1])

    Session.step, ResultPublishers.publish_objects = timed_step, timed_publish  # type: ignore[method-assign]
    try:
        yield
    finally:
        Session.step, ResultPublishers.publish_objects = step, publish  # type: ignore[method-assign]


def bare_transport(options: argparse.Namespace, seconds: float) -> list[float]:
    """Seconds from an image's stamp to a callback that does nothing."""
    ages: list[float] = []
    node = rclpy.create_node("bare_listener")

    def arrived(message: Image) -> None:
        age = node.get_clock().now() - Time.from_msg(message.header.stamp)
        ages.append(age.nanoseconds * 1e-9)

    node.create_subscription(Image, f"/{NODE}/image_raw", arrived, 1)
    camera = start_camera(options)
    while len(ages) < 2:
        rclpy.spin_once(node, timeout_sec=0.1)
    ages.clear()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rclpy.spin_once(node, timeout_sec=0.1)
    stop(camera)
    node.destroy_node()
    return sorted(ages)


def stop(camera: subprocess.Popen[bytes]) -> None:
    """Stop the camera's process."""
    camera.send_signal(signal.SIGINT)
    camera.wait(60)


def summary(name: str, spans: list[float]) -> str:
    """One line with median, 95th percentile and maximum of ascending seconds."""
    figures = (statistics.median(spans), spans[int(0.95 * (len(spans) - 1))], spans[-1])
    median, high, worst = (1000 * figure for figure in figures)
    return f"{name}: median {median:.2f} ms, p95 {high:.2f} ms, worst {worst:.2f} ms"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=5.0, help="images per second")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT of the images")
    parser.add_argument("--seconds", type=int, default=30, help="how long to measure")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--domain", type=int, default=96, help="ROS domain to measure on")
    options = parser.parse_args()
    os.environ["ROS_DOMAIN_ID"] = str(options.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the node's own main() does
    use_roomy_shared_memory()
    parameters = {"model": options.model, "initial_command": SENTENCES[0], "image_qos": "reliable"}
    arguments = ["--ros-args", "-r", f"__node:={NODE}", "-r", f"image_raw:=/{NODE}/image_raw"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    rclpy.init(args=arguments)
    bare = bare_transport(options, options.seconds / 2)
    node = ReferDINONode()
    executor = MultiThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    threading.Thread(target=spin, daemon=True).start()
    overheads: list[float] = []
    steps: list[float] = []
    camera = start_camera(options)
    try:
        with stopwatch(overheads, steps):
            while not overheads:
                time.sleep(0.1)
            time.sleep(WARM_UP)
            overheads.clear()
            steps.clear()
            for _ in tqdm(range(options.seconds), desc="measuring", unit="s"):
                time.sleep(1)
    finally:
        stop(camera)
    print(f"{len(overheads)} images of {options.size} at {options.rate:g} Hz, {options.model}")
    print(summary("Session.step", sorted(steps)))
    print(summary("bare subscription, from stamp to callback", bare))
    print(summary("node, from stamp to published result, minus Session.step", sorted(overheads)))
    sys.stdout.flush()
    os._exit(0)  # rclpy would take seconds to end its threads


if __name__ == "__main__":
    main()
