# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The real node inside the test process, where a test can reach its parts."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from ros_harness import PATIENCE, domain_id

from referdino_ros.process import spin_until_shutdown
from referdino_ros.referdino_node import ReferDINONode


@contextlib.contextmanager
def context_of_tests() -> Iterator[Context]:
    """A ROS context on the tests' domain."""
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    context = Context()
    rclpy.init(context=context, domain_id=domain_id())
    try:
        yield context
    finally:
        context.try_shutdown()


@contextlib.contextmanager
def node_in_process(**parameters: Any) -> Iterator[ReferDINONode]:
    """The node /referdino, unconfigured, with its callbacks running."""
    given = {"autostart": False, **parameters}
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    with context_of_tests() as context:
        node = ReferDINONode(context=context, parameter_overrides=overrides)
        spinning = threading.Thread(target=spin_until_shutdown, args=(node,))
        spinning.start()
        try:
            yield node
        finally:
            node.close()
            context.try_shutdown()
            spinning.join(PATIENCE)
            node.destroy_node()


def holdings(node: ReferDINONode) -> Counter[str]:
    """What a node holds: its publishers, subscriptions, services and threads, each counted."""
    held = [f"publisher {one.topic_name}" for one in node.publishers]
    held += [f"subscription {one.topic_name}" for one in node.subscriptions]
    held += [f"service {one.srv_name}" for one in node.services]
    held += [
        f"thread {one.name}" for one in threading.enumerate() if one.name.startswith("referdino")
    ]
    return Counter(held)
