# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The newest images of a node's cameras through the model, and what is published of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from referdino_ros.camera import Camera
from referdino_ros.received_image import ReceivedImage

if TYPE_CHECKING:
    from referdino_core import CameraGroup


def process_images(
    group: CameraGroup,
    cameras: Sequence[Camera],
    received: Mapping[int, ReceivedImage],
    tells_failures: Callable[[], bool],
) -> None:
    """Take an image of each of some cameras through the model, and publish the results.

    What fails for one camera is told there alone.

    Args:
        group: the cameras' sessions, in their order.
        received: the images by number of the camera.
        tells_failures: whether anybody still wants to hear of failures.
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
            if tells_failures():
                cameras[number].report(error)
    for number, failure in failures.items():
        if tells_failures():
            cameras[number].publish_failure(group.sessions[number], received[number], failure)
