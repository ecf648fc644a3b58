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
    """An RGB image, or B of them, as the network takes them.

    Args:
        image: (H, W, 3) or (B, H, W, 3) uint8 RGB.
        short_side: length in pixels that the shorter side is resized to (bilinear, antialiased).

    Returns:
        (1 or B, 3, h, w) float32, normalised.
    """
    height, width = image.shape[-3:-1]
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    pixels = pixels.view(-1, height, width, 3).permute(0, 3, 1, 2)
    # One channel after the other: what follows is twice as fast on that.
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format) / 255
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
