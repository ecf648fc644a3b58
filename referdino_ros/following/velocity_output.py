# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Publisher of `cmd_vel` as Twist or TwistStamped, according to the subscriber found."""

from __future__ import annotations

import threading
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from referdino_core.errors import ReferDINOError, one_line
from referdino_core.following import Velocity

RCLError = rclpy_implementation.RCLError
_TYPES = {"geometry_msgs/msg/Twist": Twist, "geometry_msgs/msg/TwistStamped": TwistStamped}
STAMPED = ("auto", "true", "false")
"""Values of the parameter `stamped`."""


class VelocityOutput:
    """Publishes velocities; `problem` says what keeps them from reaching one base.

    Every method may be called from any thread.

    With "auto" nothing is published before a subscriber's type is known: a publisher of the wrong
    type would look as if it worked.
    """

    def __init__(self, node: Node, topic: str, stamped: str, frame: str) -> None:
        """Look for subscribers.

        Args:
            stamped: "auto", "true" or "false".
            frame: of the base, for stamped messages.

        Raises:
            ReferDINOError: stamped is something else.
        """
        if stamped not in STAMPED:
            raise ReferDINOError(f"stamped is {stamped!r}; choose one of {', '.join(STAMPED)}.")
        self._node, self._stamped, self._frame = node, stamped, frame
        self.topic = node.resolve_topic_name(topic)
        self._publisher: Any = None
        self._type: type[Any] | None = None
        self.problem = ""
        self._lock = threading.RLock()
        self.refresh()

    @property
    def topic_is_open(self) -> bool:
        """Whether velocities can be published: the type is known."""
        return self._publisher is not None

    def refresh(self) -> None:
        """Look at the graph again; to be called about once a second."""
        found = {info.topic_type for info in self._node.get_subscriptions_info_by_topic(self.topic)}
        known = [kind for name, kind in _TYPES.items() if name in found]
        fixed = {"true": TwistStamped, "false": Twist}.get(self._stamped)
        kind = fixed or (known[0] if len(known) == 1 else self._type)
        if len(known) == 2 and fixed is None and kind is None:
            kind = TwistStamped
        with self._lock:
            if kind is not None and kind is not self._type:
                self._open(kind)
        others = self._node.get_publishers_info_by_topic(self.topic)
        rivals = [
            one.node_name
            for one in others
            if (one.node_name, one.node_namespace)
            != (self._node.get_name(), self._node.get_namespace())
        ]
        self.problem = self._complaint(known, found, rivals)

    def _complaint(self, known: list[type[Any]], found: set[str], rivals: list[str]) -> str:
        if not found:
            return f"Nobody listens to {self.topic}."
        if self._type is not None and self._type not in known:
            mine = f"geometry_msgs/msg/{self._type.__name__}"
            return (
                f"{self.topic} is {mine} here, but {', '.join(sorted(found))} is wanted: the base "
                "does not hear it. Set stamped to auto, or to what the base takes."
            )
        if len(known) == 2:
            return f"{self.topic} has subscribers of both Twist and TwistStamped; one is not heard."
        if rivals:
            return (
                f"{self.topic} has another publisher, {', '.join(sorted(set(rivals)))}: the base "
                "gets both. Put twist_mux between them."
            )
        return ""

    def _open(self, kind: type[Any]) -> None:
        self.close()
        self._type = kind
        try:
            self._publisher = self._node.create_publisher(kind, self.topic, 1)
        except RCLError as error:  # this very process has the topic with the other type
            self._node.get_logger().error(f"{self.topic} cannot be published: {one_line(error)}")

    def send(self, velocity: Velocity) -> bool:
        """Publish a velocity, stamped now; False while no type is known."""
        with self._lock:
            if self._publisher is None or self._type is None:
                return False
            message = self._type()
            twist = message
            if self._type is TwistStamped:
                message.header.stamp = self._node.get_clock().now().to_msg()
                message.header.frame_id = self._frame
                twist = message.twist
            twist.linear.x, twist.angular.z = velocity.linear, velocity.angular
            self._publisher.publish(message)
            return True

    def close(self) -> None:
        """Take the publisher away."""
        with self._lock:
            if self._publisher is not None:
                self._node.destroy_publisher(self._publisher)
                self._publisher, self._type = None, None
