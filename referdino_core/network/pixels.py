# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images to normalised pixels, and mask logits back to masks of the image."""

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
"""Longest side of what the network sees, in short sides; bounds its time and memory.

Cameras stay below: 3 for two images side by side, 6 for a cylindrical panorama.
"""
MAX_PROPORTION = 100
"""Longest side of an image, in shortest sides; no camera image is longer, and a line is none."""

_ROWS_AT_ONCE = 64


def normalise(images: Tensor) -> Tensor:
    """(N, 3, H, W) values in [0, 1] to ImageNet's mean and deviation."""
    mean, deviation = _statistics(images.device)
    return (images - mean) / deviation


@lru_cache(maxsize=8)
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (1, 3, 1, 1) each, on a device."""
    with torch.inference_mode(False):
        mean, deviation = (
            torch.tensor(one, device=device).view(1, 3, 1, 1) for one in (MEAN, DEVIATION)
        )
    return mean, deviation


def check_proportion(height: int, width: int) -> None:
    """Raise ImageError for an image that is longer than `MAX_PROPORTION` times its short side."""
    if max(height, width) > MAX_PROPORTION * min(height, width):
        raise ImageError(
            f"An image of {width}x{height} pixels is a line: its longest side may be at most "
            f"{MAX_PROPORTION} times its shortest. Check the camera driver, or crop the image."
        )


def network_size(
    height: int, width: int, short_side: int, longest_side: int | None = None
) -> tuple[int, int]:
    """(height, width) in pixels that an image is resized to.

    The shorter side becomes `short_side`, and fractions of the longer are cut off, as in the
    published preprocessing: 480x853 becomes 360x639. Where the longer would exceed the longest
    side, it becomes that, and the shorter what the proportion asks for.

    Args:
        longest_side: in pixels; None for `LONGEST_SIDE` short sides. A2D- and JHMDB-Sentences are
            published with 640.
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
    """An RGB image, or B of them, as the network takes them.

    The image is resized as 8-bit samples (bilinear, antialiased), like Pillow does it in the
    published preprocessing: within 1 of its 255 levels.

    Args:
        image: (H, W, 3) or (B, H, W, 3) uint8 RGB.
        short_side, longest_side: of `network_size`.

    Returns:
        (1 or B, 3, h, w) float32, normalised.
    """
    height, width = image.shape[-3:-1]
    samples = torch.from_numpy(np.ascontiguousarray(image))
    # Resized where it is: few kernels for GPUs take 8 bits, and less is to be carried there.
    samples = samples.view(-1, height, width, 3).permute(0, 3, 1, 2)
    size = network_size(height, width, short_side, longest_side)
    if size != (height, width):
        samples = F.interpolate(samples, size=size, mode="bilinear", antialias=True)
    pixels = upload(samples, torch.device(device))
    pixels = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return normalise(pixels / 255)


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
    """Masks of the image: `mask_probabilities(…) > threshold`, but for rounding, at less cost.

    Logits are compared instead of probabilities, and only around a mask: an interpolated value
    exceeds the threshold only where one of the four values does that it is made of.

    Args:
        logits, resized, size: as `mask_probabilities` takes them.
        threshold: probability above which a pixel belongs to the mask.

    Returns:
        (N, Q, H, W) bool.
    """
    fine = at_network_size(logits.float(), resized).cpu().numpy()
    masks = np.zeros((*fine.shape[:2], *size), dtype=bool)
    for place in np.ndindex(*fine.shape[:2]):
        masks[place] = enlarged_mask(fine[place], size, threshold)
    return masks


def enlarged_mask(logits: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """A mask (H, W) of the image, bool, from logits (h, w) of every pixel the network saw."""
    mask = np.zeros(size, dtype=bool)
    _enlarge(logits, _logit(threshold), mask)
    return mask


def nearest_masks(
    logits: Tensor,
    resized: tuple[int, int] | torch.Size,
    size: tuple[int, int],
    threshold: float,
) -> np.ndarray:
    """Masks that are thresholded first and then take the nearest pixel's value.

    The order of A2D- and JHMDB-Sentences' published evaluation; edges come out in steps.

    Args:
        logits, resized, size, threshold: as `threshold_masks` takes them.

    Returns:
        (N, Q, H, W) bool.
    """
    masks = at_network_size(logits.float(), resized) > _logit(threshold)
    enlarged: np.ndarray = (
        F.interpolate(masks.float(), size=size, mode="nearest").bool().cpu().numpy()
    )
    return enlarged


def at_network_size(logits: Tensor, resized: tuple[int, int] | torch.Size) -> Tensor:
    """Logits at stride 4 to those of every pixel that the network saw."""
    logits = F.interpolate(logits, scale_factor=4, mode="bilinear")
    return logits[..., : resized[0], : resized[1]]


def _logit(probability: float) -> float:
    """What the sigmoid makes that probability of; infinite from 0 or 1 on."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def _enlarge(logits: np.ndarray, least: float, mask: np.ndarray) -> None:
    """Set a mask (H, W) where the logits (h, w), enlarged to its size, exceed the least."""
    above = logits > least
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
        np.greater(values, least, out=mask[block, start:stop])


def _taps(count: int, enlarged: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every enlarged sample: the two samples that it lies between, and the second's weight."""
    centres = np.maximum((np.arange(enlarged) + 0.5) * (count / enlarged) - 0.5, 0)
    before = np.minimum(centres.astype(np.int64), count - 1)
    after = np.minimum(before + 1, count - 1)
    return before, after, (centres - before).astype(np.float32)
