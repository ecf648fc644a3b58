# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The image subscription, and warnings if no images arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_system_default,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CompressedImage, Image

from referdino_ros.subscription_thread import (
    ExternallyHandledGroup,
    MessageInfo,
    SubscriptionThread,
    unused_callback,
)

_TYPE_NAMES = {"raw": "sensor_msgs/msg/Image", "compressed": "sensor_msgs/msg/CompressedImage"}
_UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"


def image_qos_profile(name: str) -> QoSProfile:
    """The QoS profile of a value of the parameter `image_qos`, with a depth of 1."""
    if name == "sensor_data":
        return QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    if name == "reliable":
        return QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    profile = QoSProfile(depth=1)
    profile.reliability = qos_profile_system_default.reliability
    profile.durability = qos_profile_system_default.durability
    return profile


def format_qos(profile: QoSProfile) -> str:
    """The settings that decide whether publisher and subscription are compatible."""
    return (
        f"reliability {profile.reliability.name.lower()}, "
        f"durability {profile.durability.name.lower()}"
    )


class ImageInput:
    """Subscription to camera messages, with monitoring of its publishers.

    Args:
        node: the node that subscribes.
        topic: of the images; its name without /compressed, before remapping.
        transport: "raw" or "compressed".
        qos: a value of the parameter `image_qos`.
        on_image: called with every message, in a separate thread; must not block.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        transport: str,
        qos: str,
        on_image: Callable[[Any], None],
    ) -> None:
        self._node = node
        self._transport = transport
        self._qos_name = qos
        self._qos = image_qos_profile(qos)
        self._on_image = on_image
        self._reported_publishers: set[bytes] = set()
        self._silent_since = time.monotonic()
        self._silent_warned = self._silent_since
        base = node.resolve_topic_name(topic)
        self._given_topic = topic
        self._subscription = node.create_subscription(
            CompressedImage if transport == "compressed" else Image,
            f"{base}/compressed" if transport == "compressed" else base,
            unused_callback,
            self._qos,
            callback_group=ExternallyHandledGroup(),
        )
        try:
            self._thread = SubscriptionThread(
                {self._subscription: self._receive}, node.context, "referdino images"
            )
        except Exception:
            node.destroy_subscription(self._subscription)
            raise

    @property
    def topic(self) -> str:
        """Full name of the topic, after remapping."""
        return self._subscription.topic_name

    @property
    def silence(self) -> float:
        """Seconds since the last image, or since subscribing."""
        return time.monotonic() - self._silent_since

    def close(self) -> None:
        """Destroy the subscription and its thread."""
        try:
            self._thread.close()
        finally:
            self._node.destroy_subscription(self._subscription)

    def publishers(self) -> list[TopicEndpointInfo]:
        """Publishers of images of the expected type on the topic."""
        return [
            info
            for info in self._node.get_publishers_info_by_topic(self.topic)
            if info.topic_type == _TYPE_NAMES[self._transport]
        ]

    def report_incompatible_publishers(self) -> None:
        """Log an error for every publisher with incompatible QoS, once for each."""
        own = self._effective_qos()
        for publisher in self.publishers():
            identity = bytes(publisher.endpoint_gid)
            compatibility, _ = qos_check_compatible(publisher.qos_profile, own)
            if compatibility != QoSCompatibility.ERROR or identity in self._reported_publishers:
                continue
            if publisher.node_name in ("", _UNKNOWN_NODE):
                continue  # the name arrives shortly after; the next check reports it
            self._reported_publishers.add(identity)
            self._node.get_logger().error(
                f"Incompatible QoS: no image will arrive from {_node_path(publisher)}. It offers "
                f"{self.topic} with {format_qos(publisher.qos_profile)}; this node asks for "
                f"{format_qos(own)} (image_qos: {self._qos_name}). Set the parameter image_qos "
                "to sensor_data, or change the QoS of the camera."
            )

    def warn_about_silence(self, after: float) -> None:
        """Log a warning every `after` seconds without an image; never if 0.

        The warning names the topic, its publishers, and other topics with images.
        """
        now = time.monotonic()
        if not after or self.silence < after or now - self._silent_warned < after:
            return
        self._silent_warned = now
        self._node.get_logger().warning(
            f"No image on {self.topic} for {self.silence:.0f} s. {self._likely_cause()}"
        )

    def _receive(self, message: Any, info: MessageInfo) -> None:
        self._silent_since = self._silent_warned = time.monotonic()
        self._on_image(message)

    def _effective_qos(self) -> QoSProfile:
        """The actual QoS profile, in which the middleware has replaced "system default"."""
        own_name = self._node.get_fully_qualified_name()
        for info in self._node.get_subscriptions_info_by_topic(self.topic):
            if _node_path(info) == own_name:
                return info.qos_profile
        return self._qos

    def _likely_cause(self) -> str:
        expected = _TYPE_NAMES[self._transport]
        everyone = self._node.get_publishers_info_by_topic(self.topic)
        publishers = self.publishers()
        if publishers:
            offers = "; ".join(
                f"{_node_path(info)} with {format_qos(info.qos_profile)}" for info in publishers
            )
            return (
                f"Publishers: {offers}; this node asks for {format_qos(self._effective_qos())} "
                f"(image_qos: {self._qos_name}). Check that the camera runs. Large images with "
                "best effort are also lost if the kernel's receive buffer is small "
                "(net.core.rmem_max); image_qos: reliable avoids that."
            )
        if everyone:
            types = ", ".join(sorted({info.topic_type for info in everyone}))
            return (
                f"It is published as {types}, and this node expects {expected}. "
                f"Set the parameter image_transport, or remap {self._given_topic}."
            )
        own_name = self._node.get_fully_qualified_name()
        others = [
            name
            for name, types in self._node.get_topic_names_and_types()
            if expected in types
            and any(
                _node_path(info) != own_name
                for info in self._node.get_publishers_info_by_topic(name)
            )
        ]
        listed = ", ".join(sorted(others)) or "none"
        return (
            f"It has no publisher. Start the camera, or remap {self._given_topic}; topics with "
            f"{expected}: {listed}."
        )


def _node_path(info: TopicEndpointInfo) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
