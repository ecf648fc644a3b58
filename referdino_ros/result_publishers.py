# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Publishers of results, which create only messages with subscribers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.qos import QoSPolicyKind, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from referdino.msg import ReferredObjectArray
from sensor_msgs.msg import CompressedImage, Image

from referdino_core.errors import ReferDINOError
from referdino_core.media import overlay
from referdino_core.messages.results import (
    Verdict,
    detections_message,
    label_image,
    objects_message,
)
from referdino_ros.messages import (
    compressed_image_message,
    image_message,
    make_message,
    message_class,
)

if TYPE_CHECKING:
    from referdino_core.target import Target

RESULTS_DEPTH = 10
IMAGES_DEPTH = 1
_OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


def detections_class() -> Any | None:
    """The message class of `~/detections`, or None if vision_msgs is not installed."""
    try:
        return message_class("vision_msgs/msg/Detection2DArray")
    except ImportError:
        return None


class ResultPublishers:
    """Publishers of one camera's results, each with the image's header.

    They publish while the node is active: all are managed by its lifecycle. Parameters such as
    `qos_overrides./referdino/objects.publisher.reliability` override their QoS on creation.

    Args:
        node: the node that publishes.
        namespace: of the topics, such as "~".

    Raises:
        ReferDINOError: such a parameter has an invalid value.
    """

    def __init__(self, node: LifecycleNodeMixin, namespace: str = "~") -> None:
        self._node = node
        self._namespace = namespace
        self._publishers: list[Any] = []
        try:
            self._objects = self._create(ReferredObjectArray, "objects", RESULTS_DEPTH)
            self._mask = self._create(Image, "mask", IMAGES_DEPTH)
            self._overlay = self._create(Image, "overlay", IMAGES_DEPTH)
            self._overlay_compressed = self._create(
                CompressedImage, "overlay/compressed", IMAGES_DEPTH
            )
            detections = detections_class()
            self._detections = None
            if detections is not None:
                self._detections = self._create(detections, "detections", RESULTS_DEPTH)
        except Exception:
            self.destroy()
            raise

    def _create(self, message_type: Any, name: str, depth: int) -> Any:
        """A publisher whose QoS can be overridden by parameters `qos_overrides.…`."""
        topic = f"{self._namespace}/{name}"
        try:
            publisher = self._node.create_lifecycle_publisher(
                message_type,
                topic,
                QoSProfile(depth=depth),
                qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
            )
        except (RuntimeError, ParameterException) as error:
            raise ReferDINOError(
                f"{topic} cannot be published: {error}. Parameters qos_overrides are read once: "
                "restart the node with other ones."
            ) from error
        self._publishers.append(publisher)
        return publisher

    def publish_objects(self, header: Any, targets: Sequence[Target], verdict: Verdict) -> None:
        """Publish the objects alone.

        Args:
            header: of the image.
            targets: of the session.
            verdict: on the result as a whole.
        """
        self._objects.publish(objects_message(make_message, header, targets, verdict))

    def publish_images(
        self, header: Any, pixels: np.ndarray, targets: Sequence[Target], jpeg_quality: int
    ) -> None:
        """Publish mask, detections and overlay to their subscribers, if there are any.

        Args:
            header: of the image.
            pixels: (H, W, 3) uint8 RGB of the image.
            targets: of the session.
            jpeg_quality: 1 to 100, of the compressed overlay.
        """
        if self._detections is not None and self._detections.get_subscription_count():
            self._detections.publish(detections_message(make_message, header, targets))
        if self._mask.get_subscription_count():
            height, width = pixels.shape[:2]
            self._mask.publish(image_message(label_image(targets, height, width), header))
        wants_raw = self._overlay.get_subscription_count()
        wants_compressed = self._overlay_compressed.get_subscription_count()
        if not wants_raw and not wants_compressed:
            return
        drawn = overlay.draw(pixels, targets)
        if wants_raw:
            self._overlay.publish(image_message(drawn, header))
        if wants_compressed:
            self._overlay_compressed.publish(compressed_image_message(drawn, header, jpeg_quality))

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.pop())
