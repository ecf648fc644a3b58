# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Conversion of images to normalised pixels, and of mask logits to masks of the image."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.errors import ImageError
from referdino_core.network.host_copies import upload

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

LONGEST_SIDE = 8
"""Largest ratio of long to short side of the network's input; bounds its time and memory.

Cameras are below it: 3 for two images side by side, 6 for a cylindrical panorama.
"""
MAX_PROPORTION = 100
"""Largest ratio of long to short side of an image; no camera exceeds it."""

_ROWS_AT_ONCE = 64


def normalise(images: Tensor) -> Tensor:
    """Normalise (N, 3, H, W) values in [0, 1] by ImageNet's mean and standard deviation."""
    mean, deviation = _statistics(images.device)
    return (images - mean) / deviation


@lru_cache(maxsize=8)
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, (1, 3, 1, 1) each, on a device."""
    with torch.inference_mode(False):
        mean, deviation = (
            torch.tensor(one, device=device).view(1, 3, 1, 1) for one in (MEAN, DEVIATION)
        )
    return mean, deviation


def check_proportion(height: int, width: int) -> None:
    """Raise ImageError if the long side exceeds `MAX_PROPORTION` times the short side."""
    if max(height, width) > MAX_PROPORTION * min(height, width):
        raise ImageError(
            f"An image of {width}x{height} pixels is a line: its longest side may be at most "
            f"{MAX_PROPORTION} times its shortest. Check the camera driver, or crop the image."
        )


def network_size(
    height: int, width: int, short_side: int, longest_side: int | None = None
) -> tuple[int, int]:
    """(height, width) in pixels that an image is resized to.

    The shorter side becomes `short_side`, and the longer side is rounded down as in the published
    preprocessing: 480x853 becomes 360x639. If the longer side would exceed `longest_side`, it
    becomes `longest_side`, and the shorter side follows from the aspect ratio.

    Args:
        longest_side: in pixels; None for `LONGEST_SIDE` short sides. The published results on
            A2D- and JHMDB-Sentences use 640.
    """
    shorter, longer = sorted((height, width))
    if longest_side is None:
        longest_side = LONGEST_SIDE * short_side
    if longer * short_side > longest_side * shorter:
        short_side = max(1, round(longest_side * shorter / longer))
    long_side = min(short_side * longer // shorter, longest_side)
    return (short_side, long_side) if height <= width else (long_side, short_side)


def to_pixels(
    image: np.ndarray,
    short_side: int,
    device: torch.device | str = "cpu",
    longest_side: int | None = None,
) -> Tensor:
    """Convert one RGB image, or B of them, to the network's input.

    Images are resized as 8-bit samples (bilinear, antialiased), within 1 of 255 levels of Pillow,
    which the published preprocessing uses.

    Args:
        image: (H, W, 3) or (B, H, W, 3) uint8 RGB.
        short_side, longest_side: see `network_size`.

    Returns:
        (1 or B, 3, h, w) float32, normalised.
    """
    height, width = image.shape[-3:-1]
    return resized_pixels(image, network_size(height, width, short_side, longest_side), device)


def resized_pixels(
    image: np.ndarray, size: tuple[int, int], device: torch.device | str = "cpu"
) -> Tensor:
    """Convert RGB images to the network's input, as `to_pixels`, at a given (height, width)."""
    height, width = image.shape[-3:-1]
    samples = torch.from_numpy(np.ascontiguousarray(image))
    # Resized on the host: few GPU kernels support 8 bits, and fewer bytes need to be copied.
    samples = samples.view(-1, height, width, 3).permute(0, 3, 1, 2)
    if size != (height, width):
        samples = F.interpolate(samples, size=size, mode="bilinear", antialias=True)
    pixels = upload(samples, torch.device(device))
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return normalise(pixels / 255)


def mask_probabilities(
    logits: Tensor, resized: tuple[int, int] | torch.Size, size: tuple[int, int]
) -> Tensor:
    """Probability of every pixel of the image to belong to a mask.

    Args:
        logits: (N, Q, h, w) at stride 4 of the resized image.
        resized: height and width that the image was resized to.
        size: (H, W) of the image.

    Returns:
        (N, Q, H, W), 0 to 1.
    """
    logits = at_network_size(logits, resized)
    if tuple(resized) != tuple(size):
        logits = F.interpolate(logits, size=size, mode="bilinear")
    return logits.sigmoid()


def threshold_masks(
    logits: Tensor,
    resized: tuple[int, int] | torch.Size,
    size: tuple[int, int],
    threshold: float,
) -> np.ndarray:
    """Masks of the image, equal to `mask_probabilities(…) > threshold` except for rounding.

    It is faster, since logits are compared instead of probabilities, and only around a mask: an
    interpolated value can exceed the threshold only if one of its four samples does.

    Args:
        logits, resized, size: see `mask_probabilities`.
        threshold: probability above which a pixel belongs to the mask.

    Returns:
        (N, Q, H, W) bool.
    """
    fine = at_network_size(logits.float(), resized).cpu().numpy()
    masks = np.zeros((*fine.shape[:2], *size), dtype=bool)
    for index in np.ndindex(*fine.shape[:2]):
        masks[index] = enlarged_mask(fine[index], size, threshold)
    return masks


def enlarged_mask(logits: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """Mask of the image, (H, W) bool, from logits (h, w) at the network's input size."""
    mask = np.zeros(size, dtype=bool)
    _enlarge(logits, _logit(threshold), mask)
    return mask


def nearest_masks(
    logits: Tensor,
    resized: tuple[int, int] | torch.Size,
    size: tuple[int, int],
    threshold: float,
) -> np.ndarray:
    """Masks of the image that are thresholded first and then resized to the nearest pixel.

    The published evaluation on A2D- and JHMDB-Sentences uses this order; edges are jagged.

    Args:
        logits, resized, size, threshold: see `threshold_masks`.

    Returns:
        (N, Q, H, W) bool.
    """
    masks = at_network_size(logits.float(), resized) > _logit(threshold)
    enlarged: np.ndarray = (
        F.interpolate(masks.float(), size=size, mode="nearest").bool().cpu().numpy()
    )
    return enlarged


def at_network_size(logits: Tensor, resized: tuple[int, int] | torch.Size) -> Tensor:
    """Upsample logits from stride 4 to the network's input size."""
    logits = F.interpolate(logits, scale_factor=4, mode="bilinear")
    return logits[..., : resized[0], : resized[1]]


def _logit(probability: float) -> float:
    """The logit of a probability; infinite at 0 and 1, and beyond."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def _enlarge(logits: np.ndarray, threshold: float, mask: np.ndarray) -> None:
    """Set `mask` (H, W) where the logits (h, w), upsampled to its size, exceed the threshold."""
    above = logits > threshold
    rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
    if not rows.size:
        return
    if logits.shape == mask.shape:
        mask[:] = above
        return
    upper, lower, downward = _taps(logits.shape[0], mask.shape[0])
    left, right, rightward = _taps(logits.shape[1], mask.shape[1])
    first, last = np.searchsorted(lower, rows[0]), np.searchsorted(upper, rows[-1], "right")
    start, stop = np.searchsorted(right, columns[0]), np.searchsorted(left, columns[-1], "right")
    top = upper[first]
    strip = logits[top : lower[last - 1] + 1]
    across = strip[:, left[start:stop]]
    across += (strip[:, right[start:stop]] - across) * rightward[start:stop]
    for begin in range(first, last, _ROWS_AT_ONCE):
        block = slice(begin, min(begin + _ROWS_AT_ONCE, last))
        values = across[upper[block] - top]
        values += (across[lower[block] - top] - values) * downward[block, None]
        np.greater(values, threshold, out=mask[block, start:stop])


def _taps(count: int, enlarged: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every upsampled sample: the indices of its two neighbours, and the second's weight."""
    centres = np.maximum((np.arange(enlarged) + 0.5) * (count / enlarged) - 0.5, 0)
    before = np.minimum(centres.astype(np.int64), count - 1)
    after = np.minimum(before + 1, count - 1)
    return before, after, (centres - before).astype(np.float32)
