# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Age of the node's results while a camera is faster than the model.

    python benchmarks/node_latency.py --rate 100 --seconds 30

Three processes on a separate DDS domain: a camera that stamps every image when it publishes it, the
node, and this listener. Prints the age of the results (from the stamp to their arrival here), and
the upper bound when only the newest frame is kept: two inference times plus 50 ms.
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
from dataclasses import dataclass, field

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.time import Time
from referdino.msg import ReferredObjectArray
from sensor_msgs.msg import Image
from tqdm import tqdm

from referdino_ros.messages import image_message
from referdino_ros.process import use_roomy_shared_memory

NODE = "latency_node"
SLACK = 0.050  # seconds beyond two inference times
WARM_UP = 3.0  # seconds whose results are not counted
SENTENCES = ("the red ball", "the green box", "the ball on the left", "the farthest cylinder")


@dataclass
class Measurement:
    """Ages of results in seconds, and the node's own diagnostics."""

    ages: list[float] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)


def film(rate: float, height: int, width: int) -> None:
    """Publish images with changing stripes at a rate until the process is interrupted."""
    rclpy.init()
    node = Node("latency_camera")
    publisher = node.create_publisher(Image, f"/{NODE}/image_raw", 1)
    stripes = np.tile(np.arange(width, dtype=np.uint8)[None, :, None], (height, 1, 3))
    message = image_message(stripes, Image().header)
    number = 0

    def publish() -> None:
        nonlocal number
        number += 1
        message.data[number % len(message.data)] ^= 255
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(1.0 / rate, publish)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


def start_node(options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the measured node."""
    parameters = {"model": options.model, "initial_command": SENTENCES[0]}
    if options.checkpoint:
        parameters["checkpoint"] = options.checkpoint
    arguments = ["--ros-args", "-r", f"__node:={NODE}", "-r", f"image_raw:=/{NODE}/image_raw"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    return subprocess.Popen([sys.executable, "-m", "referdino_ros.referdino_node", *arguments])


def start_camera(options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start this script as the camera."""
    arguments = ["--camera", f"--rate={options.rate}", f"--size={options.size}"]
    return subprocess.Popen([sys.executable, __file__, *arguments])


def listen(options: argparse.Namespace) -> Measurement:
    """Collect results for the requested time, from the first one on."""
    rclpy.init()
    node = Node("latency_listener")
    measurement = Measurement()
    first_result = threading.Event()

    def received(message: ReferredObjectArray) -> None:
        first_result.set()
        age = node.get_clock().now() - Time.from_msg(message.header.stamp)
        measurement.ages.append(age.nanoseconds * 1e-9)

    def diagnosed(message: DiagnosticArray) -> None:
        measurement.figures = {pair.key: pair.value for pair in message.status[0].values}

    node.create_subscription(ReferredObjectArray, f"/{NODE}/objects", received, 10)
    node.create_subscription(DiagnosticArray, "/diagnostics", diagnosed, 10)
    spinning = threading.Thread(target=rclpy.spin, args=(node,), daemon=True)
    spinning.start()
    print("waiting for the model to be loaded", flush=True)
    if not first_result.wait(600):
        raise SystemExit("The node processed no image in 600 s: see its log above.")
    time.sleep(WARM_UP)
    measurement.ages.clear()
    for _ in tqdm(range(options.seconds), desc="measuring", unit="s"):
        time.sleep(1)
    rclpy.try_shutdown()
    spinning.join()
    return measurement


def report(options: argparse.Namespace, measurement: Measurement) -> None:
    """Print the measurements."""
    ages, figures = sorted(measurement.ages), measurement.figures
    inference = float(figures["inference (ms)"]) / 1000.0
    bound = 2 * inference + SLACK
    within = sum(age <= bound for age in ages) / len(ages)
    print(f"input {options.rate:g} Hz, {options.size}, model {figures['model']}")
    print(
        f"images received {figures['images received']}, processed {figures['images answered']}, "
        f"dropped {figures['dropped frames']}; {len(ages) / options.seconds:.1f} results/s"
    )
    print(f"inference, median of the last seconds: {inference * 1000:.0f} ms")
    print(
        f"age of results: median {statistics.median(ages) * 1000:.0f} ms, "
        f"p95 {ages[int(0.95 * (len(ages) - 1))] * 1000:.0f} ms, worst {ages[-1] * 1000:.0f} ms"
    )
    print(f"bound (two inference times + 50 ms): {bound * 1000:.0f} ms, met by {within:.1%}")


def main() -> None:
    """Measure, or run as the camera."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=100.0, help="images per second")
    parser.add_argument("--size", default="160x120", help="WIDTHxHEIGHT of the images")
    parser.add_argument("--seconds", type=int, default=30, help="how long to measure")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint", default="", help="path of other weights")
    parser.add_argument("--domain", type=int, default=97, help="ROS domain to measure on")
    parser.add_argument("--camera", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.camera:
        width, height = (int(side) for side in options.size.split("x"))
        film(options.rate, height, width)
        return
    os.environ["ROS_DOMAIN_ID"] = str(options.domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    use_roomy_shared_memory()
    processes = [start_node(options), start_camera(options)]
    try:
        report(options, listen(options))
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait(60)


if __name__ == "__main__":
    main()
