# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""RGB arrays as camera messages, raw and compressed."""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import numpy as np

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
    """Bytes of a contiguous array in the container that rclpy assigns without checking each one."""
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
