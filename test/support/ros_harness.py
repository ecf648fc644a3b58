# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Real nodes as processes on a DDS domain of their own, and a client that talks to them."""

from __future__ import annotations

import array
import contextlib
import fcntl
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

PATIENCE = 150.0
"""Seconds that a test waits for something that will come: the machine may be busy."""

SETTLING = 1.0
"""Seconds that two processes which have found each other get for the rest of the discovery."""

RELIABLE = QoSProfile(depth=10)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)

_held_domains: list[IO[str]] = []


@functools.cache
def domain_id() -> int:
    """A ROS domain that no other test process of this machine uses."""
    for number in range(30, 101):
        lock = open(Path(tempfile.gettempdir(), f"referdino_test_domain_{number}"), "w")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _held_domains.append(lock)
        return number
    raise RuntimeError("Every ROS domain from 30 to 100 is in use by other tests.")


def node_executable() -> Path:
    """The node as `ros2 run` and launch files find it: installed in the environment."""
    for prefix in ros_environment()["AMENT_PREFIX_PATH"].split(os.pathsep):
        executable = Path(prefix, "lib", "referdino", "referdino_node")
        if executable.is_file():
            return executable
    raise FileNotFoundError("The node is not installed: run `make setup`.")


def ros_environment(prefix: Path | None = None) -> dict[str, str]:
    """Environment of a process on this test's domain; `prefix` is a further installed workspace."""
    environment = dict(os.environ)
    prefixes = [str(prefix)] if prefix else []
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python_paths = [f"{one}/lib/{version}/site-packages" for one in prefixes]
    environment |= {
        "ROS_DOMAIN_ID": str(domain_id()),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",  # the node shares the machine with the tests
        "PYTHONPATH": _path(python_paths, "PYTHONPATH"),
        "AMENT_PREFIX_PATH": _path([*prefixes, sys.prefix], "AMENT_PREFIX_PATH"),
        "LD_LIBRARY_PATH": _path([f"{one}/lib" for one in prefixes], "LD_LIBRARY_PATH"),
    }
    return environment


def _path(first: list[str], variable: str) -> str:
    return os.pathsep.join([*first, *filter(None, [os.environ.get(variable)])])


class NodeProcess:
    """The referdino node in a process of its own; its log is collected line by line.

    Its topics and services are /NAME/..., images come from /NAME/image_raw; in a namespace they
    are /NAMESPACE/NAME/..., and images come from /NAMESPACE/image_raw.
    """

    def __init__(
        self,
        *,
        name: str,
        namespace: str = "",
        parameters: dict[str, Any] | None = None,
        prefix: Path | None = None,
    ) -> None:
        arguments = ["--ros-args", "-r", f"__node:={name}", "-r"]
        arguments += [f"__ns:=/{namespace}" if namespace else f"image_raw:=/{name}/image_raw"]
        for key, value in (parameters or {}).items():
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{key}:={shown}"]
        self.name = name
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [node_executable(), *arguments],
            env=ros_environment(prefix),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> list[str]:
        """Every line so far."""
        return list(self._lines)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_for_log(self, *parts: str, start: int = 0, timeout: float = PATIENCE) -> str:
        """The first line from number `start` on that holds every part, once there is one."""

        def found() -> str | None:
            fresh = self._lines[start:]
            return next((line for line in fresh if all(part in line for part in parts)), None)

        with self._news:
            self._news.wait_for(lambda: found() or not self._reader.is_alive(), timeout)
        line = found()
        assert line is not None, f"no log line with {parts} in:\n" + "\n".join(self._lines)
        return line

    def lines_with(self, part: str) -> list[str]:
        return [line for line in self._lines if part in line]

    def wait(self) -> int:
        """Exit status of a process that ends by itself."""
        status = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def interrupt(self, times: int = 1) -> int:
        """Press Ctrl-C so many times in short succession; the exit status."""
        for _ in range(times):
            if self.running:
                self._process.send_signal(signal.SIGINT)
                time.sleep(0.1)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


class Collector:
    """The messages of one subscription."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._news = threading.Condition()

    def receive(self, message: Any) -> None:
        with self._news:
            self.messages.append(message)
            self._news.notify_all()

    def wait_for(
        self, wanted: Callable[[Any], bool], timeout: float = PATIENCE, start: int = 0
    ) -> Any | None:
        """The first message from number `start` on that is wanted, or None after `timeout`."""

        def found() -> Any | None:
            return next((message for message in self.messages[start:] if wanted(message)), None)

        with self._news:
            return self._news.wait_for(found, timeout)


class Client:
    """A ROS node of the test process that publishes, subscribes and calls, on the test's domain."""

    def __init__(self) -> None:
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain_id())
        self.node = Node("test_client", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self._clients: dict[str, Any] = {}
        self._next_stamp = 1_000

    def close(self) -> None:
        self._context.try_shutdown()
        self._thread.join(PATIENCE)

    def collect(self, message_type: Any, topic: str, qos: QoSProfile = RELIABLE) -> Collector:
        """Subscribe, and wait until somebody publishes."""
        collector = Collector()
        subscription = self.node.create_subscription(message_type, topic, collector.receive, qos)
        wait_until(lambda: subscription.get_publisher_count() > 0, f"a publisher of {topic}")
        collector.subscription = subscription  # type: ignore[attr-defined]
        return collector

    def drop(self, collector: Collector) -> None:
        self.node.destroy_subscription(collector.subscription)  # type: ignore[attr-defined]

    def publisher(self, message_type: Any, topic: str, qos: QoSProfile = RELIABLE) -> Any:
        """Publish, once somebody is there to receive."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        wait_until(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        return publisher

    def call(self, service_type: Any, name: str, request: Any) -> Any:
        """The response of a service."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(service_type, name)
            assert client.wait_for_service(PATIENCE), f"no service {name}"
            # The service must have found this client too, or rmw_fastrtps drops its response.
            time.sleep(SETTLING)
        responded = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: responded.set())
        assert responded.wait(PATIENCE), f"no response from {name}"
        return future.result()

    def next_stamp(self, step: float = 0.1) -> Time:
        """A stamp that is `step` seconds after the one before."""
        self._next_stamp += round(step * 10)
        return Time(sec=self._next_stamp // 10, nanosec=self._next_stamp % 10 * 100_000_000)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()


class Camera:
    """Publishes images of which the node may drop some, and finds the results."""

    def __init__(self, client: Client, publisher: Any, objects: Collector) -> None:
        self._client = client
        self._publisher = publisher
        self._objects = objects

    def send(self, message: Any) -> Any:
        """Publish with the next stamp; returns the header."""
        message.header.stamp = self._client.next_stamp()
        self._publisher.publish(message)
        return message.header

    def ask(self, message: Any, attempts: int = 30) -> Any:
        """The result of the image; sends it again, with a later stamp, while there is none."""
        start = len(self._objects.messages)
        stamps = []
        for _ in range(attempts):
            stamps.append(_nanoseconds(self.send(message).stamp))
            result = self._objects.wait_for(
                lambda result: _nanoseconds(result.header.stamp) in stamps,
                timeout=PATIENCE / attempts,
                start=start,
            )
            if result is not None:
                return result
        raise AssertionError(f"no result for {attempts} images")


def _nanoseconds(stamp: Time) -> int:
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def picture(height: int = 120, width: int = 160) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a red disc and a green square on a grey floor."""
    pixels = np.full((height, width, 3), (120, 120, 125), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height * 0.6) ** 2 + (columns - width * 0.3) ** 2 < (height * 0.18) ** 2
    pixels[disc] = (205, 35, 35)
    pixels[int(height * 0.5) : int(height * 0.75), int(width * 0.6) : int(width * 0.8)] = (
        40,
        160,
        60,
    )
    return pixels


def image_message(pixels: np.ndarray, frame: str = "camera_optical_frame") -> Image:
    """An rgb8 message, made without the code under test."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding="rgb8")
    message.step = pixels.shape[1] * 3
    message.data = array.array("B", pixels.tobytes())
    message.header.frame_id = frame
    return message


def wait_until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> None:
    """Return once the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s in vain for {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def running_node(**options: Any) -> Iterator[NodeProcess]:
    """A node process; at the end Ctrl-C must end it with status 0 if it still runs, and quietly."""
    process = NodeProcess(**options)
    try:
        yield process
    finally:
        was_running = process.running
        status = process.interrupt()
        print(
            f"log of {process.name}, running until the end: {was_running}", *process.log, sep="\n"
        )
    assert status == 0 or not was_running, "\n".join(process.log)
    assert not process.lines_with("Traceback"), "\n".join(process.log)
