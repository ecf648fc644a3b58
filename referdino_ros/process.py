# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Process-wide set-up of a node: memory arenas, DDS transport and domain, log, executor."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rclpy
import rclpy.exceptions
import rclpy.logging
from ament_index_python.packages import get_package_share_directory
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node

from referdino_core.errors import ReferDINOError, one_line

THREADS = 3
"""One each for transitions and commands, which may block, and one for everything else."""


def several_threads(node: Node, threads: int = THREADS) -> Executor:
    """An executor that runs the node's callbacks in several threads."""
    return MultiThreadedExecutor(num_threads=threads, context=node.context)


def spin_until_shutdown(node: Node, threads: int = THREADS) -> None:
    """Run the node's callbacks until SIGINT, SIGTERM or a shutdown of its context.

    An exception of a callback is logged and does not end the node. (In Humble rclpy raises even if
    a client is gone before its response is sent.) It returns once the last callback has ended.
    """
    executor = several_threads(node, threads)
    _spin(executor, node)
    wait_for_callbacks(executor)


def _spin(executor: Executor, node: Node) -> None:
    executor.add_node(node)
    try:
        while node.context.ok():
            try:
                executor.spin()
            except ExternalShutdownException:
                break
            except Exception as error:
                node.get_logger().error(f"A callback failed: {one_line(error)}")
                node.get_logger().debug(traceback.format_exc())
    except KeyboardInterrupt:
        pass
    finally:
        executor.shutdown()


def wait_for_callbacks(executor: Executor) -> None:
    """Block until the callbacks of an executor that was shut down have ended.

    Most versions of rclpy do not wait for those in other threads. One that still runs while its
    node is destroyed can crash the process.
    """
    pool = getattr(executor, "_executor", None)
    if pool is not None:
        pool.shutdown(wait=True)


AnyNode = TypeVar("AnyNode", bound=Node)


def start_node(name: str, make: Callable[[], AnyNode]) -> AnyNode | None:
    """The node that `make` makes; None, with a line in the log and ROS shut down, if it cannot.

    Args:
        name: of the node's logger.
    """
    try:
        return make()
    except (ReferDINOError, rclpy.exceptions.ParameterException) as error:
        rclpy.logging.get_logger(name).fatal(f"Cannot start: {one_line(error)}")
        rclpy.try_shutdown()
        return None


def run_node(
    name: str,
    make: Callable[[], AnyNode],
    args: list[str] | None = None,
    *,
    close: Callable[[AnyNode], None] | None = None,
    executor_of: Callable[[AnyNode], Executor] = several_threads,
) -> int:
    """Run a node until SIGINT, SIGTERM or a ROS shutdown; returns the exit status.

    Args:
        name: of the node's logger. make: makes the node after ROS is initialised.
        args: of `rclpy.init`.
        close: releases what the node holds beside its topics, and ends callbacks that wait for it.
        executor_of: returns the executor of the node's callbacks.
    """
    use_few_arenas()
    rclpy.init(args=args)
    node = start_node(name, make)
    if node is None:
        return 1
    executor = executor_of(node)
    try:
        _spin(executor, node)
    finally:
        # Under `ros2 launch` Ctrl-C comes twice: from the terminal and from launch.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if close is not None:
            close(node)
        wait_for_callbacks(executor)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


ARENAS = 2
_M_ARENA_MAX = -8  # of malloc.h


def use_few_arenas() -> None:
    """Limit the number of glibc's memory arenas; call it before threads are started.

    By default glibc gives each thread its own arena. Memory freed in one is not available to the
    others: a node with three cameras grew by 130 MB in an hour (benchmarks/soak.py). With another C
    library this does nothing.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(ARENAS))


_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def use_roomy_shared_memory() -> None:
    """Configure Fast DDS in this process and its children for images in shared memory.

    A profile that the user has set is kept. Call it before `rclpy.init`.
    """
    if any(os.environ.get(variable) for variable in _VARIABLES):
        return
    profile = Path(get_package_share_directory("referdino"), "config", "fastdds.xml")
    for variable in _VARIABLES:
        os.environ[variable] = str(profile)


CORE_LOGGER = "referdino"
"""Name of the parent of the core's loggers."""


class RosLogHandler(logging.Handler):
    """Handler that forwards records of Python's logging to a logger of rclpy.

    Every severity has its own call below: rclpy remembers the severity of each calling line and
    refuses another one from the same line.
    """

    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; a broken record is reported by `handleError` and does not raise."""
        try:
            message = self.format(record)
            if record.levelno >= logging.CRITICAL:
                self._ros_logger.fatal(message)
            elif record.levelno >= logging.ERROR:
                self._ros_logger.error(message)
            elif record.levelno >= logging.WARNING:
                self._ros_logger.warning(message)
            elif record.levelno >= logging.INFO:
                self._ros_logger.info(message)
            else:
                self._ros_logger.debug(message)
        except Exception:
            self.handleError(record)


def forward_core_log(ros_logger: Any) -> RosLogHandler:
    """Forward the core's log records to `ros_logger` until `stop_forwarding` is called."""
    handler = RosLogHandler(ros_logger)
    core = logging.getLogger(CORE_LOGGER)
    core.addHandler(handler)
    if core.level == logging.NOTSET:
        core.setLevel(logging.DEBUG)  # ROS filters by its own level
    return handler


def stop_forwarding(handler: RosLogHandler) -> None:
    """Undo `forward_core_log`."""
    logging.getLogger(CORE_LOGGER).removeHandler(handler)


# Each of these could connect this process with another ROS graph.
_FOREIGN = ("ROS_DISCOVERY_SERVER", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS", "ROS_NAMESPACE")
_DOMAINS = range(60, 102)
"""Rarely used; from 102 on, a domain's ports are in Linux's ephemeral range."""
_FIRST_PORT, _PORTS_OF_A_DOMAIN, _UNICAST = 7400, 250, 10
"""RTPS: the first participant of domain d on a machine listens on port 7400 + 250 d + 10."""


def join_private_graph() -> int:
    """Use a separate ROS domain, on this machine only, for this process and its children.

    Returns:
        The domain.
    """
    domain = _free_domain(os.getpid())
    for variable in _FOREIGN:
        os.environ.pop(variable, None)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if os.environ.get("ROS_DISTRO") == "humble":  # knows only the older variable
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    use_roomy_shared_memory()
    return domain


def _free_domain(seed: int) -> int:
    """The first unused domain, starting from a number derived from `seed`."""
    first = seed % len(_DOMAINS)
    candidates = [*_DOMAINS[first:], *_DOMAINS[:first]]
    for domain in candidates:
        port = _FIRST_PORT + _PORTS_OF_A_DOMAIN * domain + _UNICAST
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return domain
    return candidates[0]
