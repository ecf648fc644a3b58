# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A camera of the node: subscription, results and health; processing of the newest images."""

from __future__ import annotations

import secrets
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from referdino_core.errors import ReferDINOError, one_line
from referdino_core.messages.compressed_images import compressed_image_to_rgb
from referdino_core.messages.images import image_to_rgb
from referdino_core.messages.results import Verdict
from referdino_ros.camera_topics import CameraTopics
from referdino_ros.diagnostics import CameraHealth, SessionView, StreamStatistics, view_of
from referdino_ros.error_log import ErrorLog
from referdino_ros.image_input import ImageInput
from referdino_ros.managed_node import ManagedNode
from referdino_ros.messages import ReceivedImage, image_age
from referdino_ros.parameters import NodeParameters
from referdino_ros.result_publishers import ResultPublishers

if TYPE_CHECKING:
    from referdino_core import Target
    from referdino_core.session.peer_cameras import AnyCameraGroup, AnySession
    from referdino_core.target import Judgement


class Camera:
    """One camera: subscription to its images, and publishers of their results.

    Results are published while there is a subscription.

    Args:
        node: the node that subscribes and publishes.
        topics: of the camera.
        parameters: of the node.

    Raises:
        ReferDINOError: a topic cannot be published.
    """

    def __init__(self, node: ManagedNode, topics: CameraTopics, parameters: NodeParameters) -> None:
        self.topics = topics
        self._node = node
        self._parameters = parameters
        self._errors = ErrorLog(self._log_error, lambda: parameters["error_log_period"])
        self._statistics = StreamStatistics()
        self._view = SessionView()
        self._convert: Callable[[Any], np.ndarray] = image_to_rgb
        self._images: ImageInput | None = None
        self._first_stream = secrets.randbelow(2**31) + 1
        self._results = ResultPublishers(node, topics.namespace)

    def destroy(self) -> None:
        """Remove the subscription and the publishers from the node."""
        try:
            self.unsubscribe()
        finally:
            self._results.destroy()

    def subscribe(self, put: Callable[[ReceivedImage], None]) -> str:
        """Subscribe to the images.

        Args:
            put: called with every image in a separate thread; must not block.

        Returns:
            The full name of the topic.
        """
        transport, qos = self._parameters["image_transport"], self._parameters["image_qos"]
        self._convert = compressed_image_to_rgb if transport == "compressed" else image_to_rgb

        def receive(message: Any) -> None:
            put(ReceivedImage(message, time.monotonic()))

        self._images = ImageInput(self._node, self.topics.image, transport, qos, receive)
        return self._images.topic

    def unsubscribe(self) -> None:
        """Unsubscribe from the images and stop publishing."""
        images, self._images = self._images, None
        if images is not None:
            images.close()

    def check_input(self) -> None:
        """Warn of incompatible publishers and missing images; call it about once per second."""
        images = self._images
        if images is not None:
            images.report_incompatible_publishers()
            images.warn_about_silence(self._parameters["no_image_warning"])

    # ---- In the model's thread -----------------------------------------------------------------

    def update_view(self, session: AnySession) -> None:
        """Update the diagnostics' view of the session."""
        self._view = view_of(session)

    def pixels(self, image: ReceivedImage) -> np.ndarray:
        """The image as (H, W, 3) uint8 RGB.

        Raises:
            ImageError: the message is damaged or no colour image.
        """
        return self._convert(image.message)

    def publish(
        self,
        session: AnySession,
        image: ReceivedImage,
        pixels: np.ndarray,
        targets: tuple[Target, ...],
        inference: float,
    ) -> None:
        """Publish the results of an image.

        Args:
            inference: seconds that the model took.
        """
        if self._images is None:
            return
        header = image.message.header
        verdict = self._verdict(session, image, session.judgement, session.reason)
        self._results.publish_objects(header, targets, verdict)
        quality = self._parameters["overlay_jpeg_quality"]
        self._results.publish_images(header, pixels, targets, quality)
        age = image_age(self._node.get_clock().now(), header.stamp)
        self._statistics.record(time.monotonic() - image.received, inference, age)
        self.update_view(session)

    def publish_failure(self, session: AnySession, image: ReceivedImage, error: Exception) -> None:
        """Publish and log that an image was not judged, and why."""
        from referdino_core.target import Judgement

        if image.stamp is not None:
            session.skip(image.stamp)
        self.update_view(session)
        if self._images is not None:
            verdict = self._verdict(session, image, Judgement.FAILED, one_line(error))
            targets = session.unjudged(session.image_size or (0, 0), Judgement.FAILED)
            self._results.publish_objects(image.message.header, targets, verdict)
        self.report(error)

    def _verdict(
        self, session: AnySession, image: ReceivedImage, judgement: Judgement, reason: str
    ) -> Verdict:
        stream = self._first_stream + session.reset_count
        return Verdict(judgement, reason, len(image.skipped), stream)

    def report(self, error: Exception) -> None:
        """Log why an image could not be processed."""
        if isinstance(error, ReferDINOError):
            self._errors.report("image", str(error))
            return
        self._node.get_logger().debug("".join(traceback.format_exception(error)))
        self._errors.report("internal", f"An image could not be processed: {one_line(error)}")

    # ---- Health --------------------------------------------------------------------------------

    def health(self, received: int, dropped: int) -> CameraHealth:
        """A snapshot for diagnostics.

        Args:
            received: number of images so far. dropped: number of those replaced by newer ones.
        """
        images = self._images
        return CameraHealth(
            name=self.topics.name,
            view=self._view,
            topic=images.topic if images else "",
            publishers=len(images.publishers()) if images else 0,
            silence=images.silence if images else None,
            received=received,
            dropped=dropped,
            stream=self._statistics.report(),
            errors=self._errors.count,
            last_error=self._errors.last,
        )

    def _log_error(self, line: str) -> None:
        named = f"{self.topics.name}: {line}" if self.topics.name else line
        self._node.get_logger().error(named)


def process_images(
    group: AnyCameraGroup,
    cameras: Sequence[Camera],
    received: Mapping[int, ReceivedImage],
    reports_failures: Callable[[], bool],
) -> None:
    """Process the newest images of the cameras together, and publish the results.

    A failure affects only the camera that it concerns.

    Args:
        group: the cameras' sessions, in order.
        received: the images by camera number.
        reports_failures: whether failures are still to be reported.
    """
    numbers = range(len(cameras))
    failures: dict[int, Exception] = {}
    pixels: dict[int, np.ndarray] = {}
    for number, image in received.items():
        for stamp in image.skipped:
            if stamp is not None:
                group.sessions[number].skip(stamp)
        try:
            pixels[number] = cameras[number].pixels(image)
        except Exception as error:
            failures[number] = error
    began = time.monotonic()
    results = group.step_each(
        [pixels.get(number) for number in numbers],
        [received[number].stamp if number in pixels else None for number in numbers],
    )
    inference = time.monotonic() - began
    for number, result in results.items():
        if result.error is not None:
            failures[number] = result.error
            continue
        try:
            cameras[number].publish(
                group.sessions[number], received[number], pixels[number], result.targets, inference
            )
        except Exception as error:
            if reports_failures():
                cameras[number].report(error)
    for number, failure in failures.items():
        if reports_failures():
            cameras[number].publish_failure(group.sessions[number], received[number], failure)
