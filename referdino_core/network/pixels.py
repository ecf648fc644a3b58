# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images to normalised pixels, and mask logits back to masks of the image."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """(N, 3, H, W) values in [0, 1] to ImageNet's mean and deviation."""
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / deviation


def network_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) in pixels that an image is resized to."""
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def to_pixels(image: np.ndarray, short_side: int, device: torch.device | str = "cpu") -> Tensor:
    """An RGB image as the network takes it.

    Args:
        image: (H, W, 3) uint8 RGB.
        short_side: length in pixels that the shorter side is resized to (bilinear, antialiased).

    Returns:
        (1, 3, h, w) float32, normalised.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None]
    pixels = pixels.float() / 255
    height, width = image.shape[:2]
    size = network_size(height, width, short_side)
    if size != (height, width):
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return normalise(pixels)


def mask_probabilities(
    logits: Tensor, resized: tuple[int, int] | torch.Size, size: tuple[int, int]
) -> Tensor:
    """How surely every pixel of the image belongs to a mask.

    Args:
        logits: (N, Q, h, w) at stride 4 of the resized image.
        resized: height and width that the image was resized to.
        size: (H, W) of the image.

    Returns:
        (N, Q, H, W), 0 to 1.
    """
    logits = F.interpolate(logits, scale_factor=4, mode="bilinear")
    logits = logits[..., : resized[0], : resized[1]]
    if tuple(resized) != tuple(size):
        logits = F.interpolate(logits, size=size, mode="bilinear")
    return logits.sigmoid()
