# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps a node's callbacks running until ROS is shut down."""

from __future__ import annotations

import traceback

from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node

from referdino_ros.error_log import one_line

THREADS = 3
"""One each for transitions and commands, which may wait, and one for everything else."""


def spin_until_shutdown(node: Node) -> None:
    """Run the node's callbacks until SIGINT, SIGTERM or a shutdown of its context.

    A callback that raises is logged and does not end the node. (Under Humble even a client that is
    gone before its response is sent makes rclpy raise.)
    """
    executor = MultiThreadedExecutor(num_threads=THREADS, context=node.context)
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
