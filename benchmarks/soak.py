# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Soak test of the node: memory over an hour in which cameras and commands come and go.

    python benchmarks/soak.py --minutes 60 --out soak.json
    python benchmarks/soak.py --plot soak.png --out soak.json

One node with three cameras and one model. Every few seconds there is a random event: a camera
disconnects or reconnects, perhaps with another image size or with stamps that jump back; commands
are set, added and removed for one camera or for all; an overlay is subscribed to or unsubscribed
from; images are damaged; occasionally the node is deactivated and reactivated. The node's memory,
threads and open files are recorded every five seconds. Events are reproducible by their seed.

The plot needs matplotlib, which is not a dependency of referdino: pip install matplotlib.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from referdino.msg import Command, ReferredObjectArray
from referdino.srv import SetCommands
from sensor_msgs.msg import CompressedImage, Image
from tqdm import tqdm

from referdino_core.world import WorldRenderer
from referdino_ros.messages import image_message
from referdino_ros.process import join_private_graph

NODE = "soak"
CAMERAS = ("front", "rear", "top")
SIZES = ((160, 120), (320, 240), (640, 480))
SENTENCES = (
    "the red ball",
    "the green box",
    "the ball on the left",
    "the small blue cylinder behind the box",
    "the ball that moves to the right",
    "the purple elephant",
)
SAMPLE_PERIOD = 5.0
EVENT_PERIOD = 4.0
WARM_UP = 300.0
"""Initial seconds that are excluded from the growth, in which caches fill."""


class RobotCamera:
    """A simulated camera that can be unplugged, and whose images can change."""

    def __init__(self, node: Node, name: str, clip: np.ndarray, rate: float) -> None:
        self.name = name
        self.size = SIZES[0]
        self.damaged = False
        self.behind = 0.0
        self._node = node
        self._clip = clip
        self._number = 0
        self._publisher: Any = None
        self.plug_in()
        node.create_timer(1.0 / rate, self._publish)

    @property
    def is_plugged_in(self) -> bool:
        return self._publisher is not None

    def plug_in(self) -> None:
        self._publisher = self._node.create_publisher(Image, f"/{self.name}/image_raw", 1)

    def unplug(self) -> None:
        publisher, self._publisher = self._publisher, None
        self._node.destroy_publisher(publisher)

    def _publish(self) -> None:
        publisher = self._publisher
        if publisher is None:
            return
        self._number += 1
        there_and_back = [*range(len(self._clip)), *range(len(self._clip))[::-1]]
        pixels = self._clip[there_and_back[self._number % len(there_and_back)]]
        message = image_message(cv2.resize(pixels, self.size), Image().header)
        nanoseconds = time.time_ns() - int(self.behind * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
        if self.damaged:
            message.data = message.data[:100]
        publisher.publish(message)


class Operator:
    """Source of random events for the node and its cameras, reproducible by a seed."""

    def __init__(self, node: Node, cameras: list[RobotCamera], seed: int) -> None:
        self._node = node
        self._cameras = cameras
        self._random = random.Random(seed)
        self._overlay: Any = None
        self._number = 0
        self.events = 0
        names = ["", *(f"/{camera.name}" for camera in cameras)]
        self._commands = {
            name: node.create_client(SetCommands, f"/{NODE}{name}/set_commands") for name in names
        }
        self._change_state = node.create_client(ChangeState, f"/{NODE}/change_state")
        node.create_timer(EVENT_PERIOD, self._act)

    def _act(self) -> None:
        events = {
            self._set_commands: 8,
            self._plug: 4,
            self._change_images: 4,
            self._watch_overlay: 3,
            self._rest: 1,
        }
        (event,) = self._random.choices(list(events), list(events.values()))
        event()
        self.events += 1

    def _set_commands(self) -> None:
        request = SetCommands.Request(clear=self._random.random() < 0.5)
        for _ in range(self._random.randint(0, 3)):
            self._number += 1
            text = self._random.choice(SENTENCES)
            select = self._random.choice((Command.SELECT_ONE, Command.SELECT_ALL))
            request.set.append(Command(id=f"c{self._number % 9}", text=text, select=select))
        self._commands[self._random.choice(list(self._commands))].call_async(request)

    def _plug(self) -> None:
        camera = self._random.choice(self._cameras)
        (camera.unplug if camera.is_plugged_in else camera.plug_in)()

    def _change_images(self) -> None:
        camera = self._random.choice(self._cameras)
        camera.size = self._random.choice(SIZES)
        camera.behind = self._random.choice((0.0, 0.0, 0.2, 30.0))
        camera.damaged = self._random.random() < 0.2

    def _watch_overlay(self) -> None:
        if self._overlay is not None:
            self._node.destroy_subscription(self._overlay)
            self._overlay = None
            return
        kind, suffix = self._random.choice(((Image, ""), (CompressedImage, "/compressed")))
        topic = f"/{NODE}/{self._random.choice(CAMERAS)}/overlay{suffix}"
        self._overlay = self._node.create_subscription(kind, topic, lambda message: None, 1)

    def _rest(self) -> None:
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            self._change_state.call_async(request)


def measured(process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Memory in MB, threads and open files of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "memory": int(values["VmRSS"].split()[0]) / 1024.0,
        "threads": int(values["Threads"]),
        "files": len(os.listdir(f"/proc/{process.pid}/fd")),
    }


def start_node() -> subprocess.Popen[bytes]:
    """Start the tested node."""
    parameters = {"cameras": f"[{', '.join(CAMERAS)}]", "error_log_period": "600.0"}
    arguments = ["--ros-args", "-r", f"__node:={NODE}"]
    for name, value in parameters.items():
        arguments += ["-p", f"{name}:={value}"]
    return subprocess.Popen([sys.executable, "-m", "referdino_ros.referdino_node", *arguments])


def soak(options: argparse.Namespace, process: subprocess.Popen[bytes]) -> list[dict[str, float]]:
    """Run the cameras and the operator; returns one row of measurements every few seconds."""
    with WorldRenderer() as renderer:
        clips = [renderer.clip("train", index).frames for index in range(len(CAMERAS))]
    rclpy.init()
    node = Node("soak_robot")
    cameras = [
        RobotCamera(node, name, clip, options.rate)
        for name, clip in zip(CAMERAS, clips, strict=True)
    ]
    operator = Operator(node, cameras, options.seed)
    results = 0

    def received(message: ReferredObjectArray) -> None:
        nonlocal results
        results += 1

    for name in CAMERAS:
        node.create_subscription(ReferredObjectArray, f"/{NODE}/{name}/objects", received, 10)
    spinning = threading.Thread(target=rclpy.spin, args=(node,), daemon=True)
    spinning.start()
    rows: list[dict[str, float]] = []
    began = time.monotonic()
    with tqdm(total=round(60 * options.minutes), unit="s") as bar:
        while (passed := time.monotonic() - began) < 60 * options.minutes:
            time.sleep(SAMPLE_PERIOD)
            if process.poll() is not None:
                raise SystemExit(f"The node ended with status {process.returncode}.")
            if not rclpy.ok():
                raise SystemExit(f"Stopped; the measurements so far are in {options.out}.")
            row = {"seconds": passed, "results": results, "events": operator.events}
            rows.append(row | measured(process))
            options.out.write_text(json.dumps(rows))
            bar.update(round(passed) - bar.n)
            bar.set_postfix_str(f"{rows[-1]['memory']:.0f} MB, {results} results")
    rclpy.try_shutdown()
    spinning.join()
    return rows


def report(rows: list[dict[str, float]]) -> None:
    """Print a summary of the measurements."""
    steady = [row for row in rows if row["seconds"] >= min(WARM_UP, rows[-1]["seconds"] / 2)]
    hours = [row["seconds"] / 3600.0 for row in steady]
    growth = np.polyfit(hours, [row["memory"] for row in steady], 1)[0]
    last = rows[-1]
    print(f"{last['seconds'] / 60:.0f} minutes, {last['events']} events, {last['results']} results")
    for name in ("memory", "threads", "files"):
        values = [row[name] for row in steady]
        print(
            f"{name}: {values[0]:.0f} at the start, {values[-1]:.0f} at the end, "
            f"maximum {max(values):.0f}"
        )
    print(f"memory growth after the warm-up: {growth:.1f} MB per hour")


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Plot memory, threads and open files over time."""
    from matplotlib import pyplot

    minutes = [row["seconds"] / 60.0 for row in rows]
    figure, panels = pyplot.subplots(2, 1, figsize=(9, 5), sharex=True, height_ratios=(3, 2))
    panels[0].plot(minutes, [row["memory"] for row in rows], color="tab:blue")
    panels[0].set(ylabel="resident memory (MB)", ylim=(0, None))
    for name in ("threads", "files"):
        panels[1].plot(minutes, [row[name] for row in rows], label=name)
    panels[1].set(xlabel="minutes", ylabel="count", ylim=(0, None))
    panels[1].legend(loc="lower right")
    for panel in panels:
        panel.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the test and print its summary, or plot an earlier run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0, help="duration")
    parser.add_argument("--rate", type=float, default=5.0, help="images per second and camera")
    parser.add_argument("--seed", type=int, default=0, help="seed of the events")
    parser.add_argument("--out", type=Path, default=Path("soak.json"), help="the measurements")
    parser.add_argument("--plot", type=Path, help="only plot the measurements in --out to a file")
    options = parser.parse_args()
    if options.plot:
        plot(json.loads(options.out.read_text()), options.plot)
        return
    join_private_graph()
    process = start_node()
    try:
        report(soak(options, process))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


if __name__ == "__main__":
    main()
