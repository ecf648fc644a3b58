# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures as compressed camera messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from referdino_core.messages.compressed_images import JPEG_FORMAT, jpeg_of
from referdino_ros.image_conversion import byte_array

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage


def compressed_image_message(pixels: np.ndarray, header: Any, quality: int) -> CompressedImage:
    """A JPEG message of (H, W, 3) uint8 RGB pixels; `quality` is between 1 and 100."""
    from sensor_msgs.msg import CompressedImage

    message = CompressedImage()
    message.header = header
    message.format = JPEG_FORMAT
    message.data = byte_array(jpeg_of(pixels, quality))
    return message
