# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of rclpy: creation by type name, images, and received camera messages."""

from __future__ import annotations

import array
import importlib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.time import Time

from referdino_core.messages.compressed_images import JPEG_FORMAT, jpeg_of

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image


def image_message(pixels: np.ndarray, header: Any) -> Image:
    """An rgb8 message of (H, W, 3) uint8 RGB pixels, or a mono8 message of (H, W) uint8 ones."""
    from sensor_msgs.msg import Image

    contiguous = np.ascontiguousarray(pixels)
    message = Image()
    message.header = header
    message.height, message.width = contiguous.shape[:2]
    message.encoding = "mono8" if contiguous.ndim == 2 else "rgb8"
    message.step = contiguous.strides[0]
    message.data = byte_array(contiguous)
    return message


def byte_array(values: np.ndarray) -> array.array[int]:
    """Bytes of a contiguous array, in the container that rclpy assigns without checking each."""
    data = array.array("B")
    data.frombytes(values.data.cast("B"))
    return data


def compressed_image_message(pixels: np.ndarray, header: Any, quality: int) -> CompressedImage:
    """A JPEG message of (H, W, 3) uint8 RGB pixels; `quality` is between 1 and 100."""
    from sensor_msgs.msg import CompressedImage

    message = CompressedImage()
    message.header = header
    message.format = JPEG_FORMAT
    message.data = byte_array(jpeg_of(pixels, quality))
    return message


@cache
def message_class(name: str) -> Any:
    """The class of a message type such as "std_msgs/msg/String".

    Raises:
        ImportError: its package is not installed.
    """
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def make_message(name: str, **fields: Any) -> Any:
    """Create a message of the type with this name."""
    return message_class(name)(**fields)


LONGEST_AGE = 86_400.0
"""Seconds; an image that appears older was stamped by another clock."""


@dataclass(frozen=True)
class ReceivedImage:
    """A camera message with its time of arrival.

    Attributes:
        received: arrival, in seconds of the monotonic clock.
        skipped: the `stamp` of each earlier image that was dropped since the last processed one.
    """

    message: Any
    received: float
    skipped: list[float | None] = field(default_factory=list)

    @property
    def stamp(self) -> float | None:
        """The header's stamp in seconds; None for a zero stamp, of a camera that sets none."""
        stamp = self.message.header.stamp
        return float(stamp.sec + stamp.nanosec * 1e-9) or None


def pass_on_skipped(replaced: ReceivedImage, newer: ReceivedImage) -> None:
    """Pass the dropped stamps of a replaced image on to the newer one."""
    newer.skipped.extend([*replaced.skipped, replaced.stamp])


def image_age(now: Time, stamp: Any) -> float | None:
    """Seconds since an image's stamp; None for a stamp that is not of this clock."""
    if stamp.sec < 0 or (stamp.sec, stamp.nanosec) == (0, 0):
        return None
    age = (now - Time.from_msg(stamp)).nanoseconds * 1e-9
    return age if abs(age) < LONGEST_AGE else None
