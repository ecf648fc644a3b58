# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images to what the network sees and masks back: sizes, resizing, thresholds, proportions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from repository import DATA

from referdino_core.errors import ImageError
from referdino_core.network.pixels import (
    DEVIATION,
    MEAN,
    check_proportion,
    mask_probabilities,
    nearest_masks,
    network_size,
    threshold_masks,
    to_pixels,
)

PILLOW = DATA / "pillow_bilinear.npz"
"""An image, and what Pillow 13 makes of it: `Image.resize((width, height), Image.BILINEAR)`."""


@pytest.mark.parametrize(
    ("size", "short_side", "longest_side", "resized"),
    [
        ((480, 853), 360, None, (360, 639)),  # 639.75
        ((853, 480), 360, None, (639, 360)),
        ((1080, 1920), 360, None, (360, 640)),
        ((1080, 1920), 120, None, (120, 213)),
        ((240, 320), 360, None, (360, 480)),
        ((120, 160), 120, None, (120, 160)),
        ((1, 1), 120, None, (120, 120)),
        ((480, 853), 360, 640, (360, 639)),
        ((320, 768), 360, 640, (267, 640)),  # 266.67 is rounded, and 640.8 is cut off
        ((1280, 480), 360, 640, (640, 240)),
        ((120, 960), 120, None, (120, 960)),
        ((3, 200), 120, None, (14, 933)),  # 8 times the short side is the longest
        ((1, 100), 120, None, (10, 960)),
        ((12000, 1), 120, None, (960, 1)),
    ],
)
def test_sizes_are_those_of_the_published_preprocessing(
    size: tuple[int, int], short_side: int, longest_side: int | None, resized: tuple[int, int]
) -> None:
    assert network_size(*size, short_side, longest_side) == resized
    assert network_size(*size[::-1], short_side, longest_side) == resized[::-1]


def samples_of(pixels: torch.Tensor) -> np.ndarray:
    """(h, w, 3) of 0 to 255 that were normalised."""
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    return ((pixels[0].permute(1, 2, 0) * deviation + mean) * 255).numpy()


@pytest.mark.parametrize("short_side", [20, 12, 90])
def test_images_are_resized_as_pillow_does_it(short_side: int) -> None:
    with np.load(PILLOW) as archive:
        image = archive["image"]
        height, width = network_size(*image.shape[:2], short_side)
        wanted = archive[f"{height}x{width}"].astype(float)

    difference = np.abs(samples_of(to_pixels(image, short_side)) - wanted)

    assert difference.max() < 1.01 and difference.mean() < 0.02


def test_several_images_are_resized_as_each_by_itself() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 45, 80, 3), dtype=np.uint8)

    together = to_pixels(images, 20)

    assert together.shape == (3, 3, 20, 35) and together.is_contiguous()
    for row, image in zip(together, images, strict=True):
        assert torch.equal(row, to_pixels(image, 20)[0])
    # A view with padded rows, as of a message, and one whose channels were turned round.
    assert torch.equal(to_pixels(images[0, :, :70], 20), to_pixels(images[0, :, :70].copy(), 20))
    turned = images[0, ..., ::-1]
    assert torch.equal(to_pixels(turned, 20), to_pixels(turned.copy(), 20))


def test_an_image_of_the_networks_size_is_not_resized() -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)

    assert np.allclose(samples_of(to_pixels(image, 24)), image, atol=1e-4)


def blob(height: int, width: int, seed: int) -> torch.Tensor:
    """(1, 2, h, w) logits of an object and of noise."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    noise = torch.randn(2, height, width, generator=generator)
    bump = 4 - 30 * ((columns - 0.2) ** 2 + (rows + 0.1) ** 2)
    return torch.stack([bump + noise[0], 3 * noise[1]])[None]


@pytest.mark.parametrize(
    ("size", "short_side"),
    [
        ((270, 480), 120),
        ((480, 853), 120),
        ((333, 250), 120),
        ((120, 160), 120),
        ((60, 81), 120),
        ((3, 200), 120),
        ((1, 1), 120),
    ],
)
@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.9])
def test_thresholded_masks_are_those_of_the_probabilities(
    size: tuple[int, int], short_side: int, threshold: float
) -> None:
    resized = network_size(*size, short_side)
    for seed in range(3):
        logits = blob(-(-resized[0] // 4), -(-resized[1] // 4), seed)
        probabilities = mask_probabilities(logits, resized, size).numpy()

        masks = threshold_masks(logits, resized, size, threshold)

        assert masks.shape == (1, 2, *size) and masks.dtype == bool
        differ = masks != (probabilities > threshold)
        assert np.abs(probabilities[differ] - threshold).max(initial=0) < 1e-4
        assert differ.mean() < 1e-4


def test_thresholds_at_the_ends_take_all_or_nothing() -> None:
    logits = blob(30, 40, 0)
    assert threshold_masks(logits, (120, 160), (240, 320), 0.0).all()
    assert not threshold_masks(logits, (120, 160), (240, 320), 1.0).any()
    assert not threshold_masks(logits - 99, (120, 160), (240, 320), 0.5).any()
    assert threshold_masks(logits + 99, (120, 160), (240, 320), 0.5).all()


def test_the_nearest_pixel_is_taken_of_masks_that_were_thresholded_first() -> None:
    logits = blob(30, 40, 0)
    small = mask_probabilities(logits, (120, 160), (120, 160)) > 0.5

    masks = nearest_masks(logits, (120, 160), (240, 320), 0.5)

    assert np.array_equal(masks, F.interpolate(small.float(), scale_factor=2).numpy() > 0)
    assert np.array_equal(masks[..., ::2, ::2], small.numpy())


@pytest.mark.parametrize("size", [(2, 1024), (1, 12000), (2000, 1), (1, 101)])
def test_a_line_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{size[1]}x{size[0]} pixels is a line: .* 100 times"):
        check_proportion(*size)


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (200, 3), (64, 2048), (1080, 1920)])
def test_what_cameras_send_is_not_refused(size: tuple[int, int]) -> None:
    check_proportion(*size)

    height, width = network_size(*size, 120)
    assert 0 < min(height, width) <= 120 and max(height, width) <= 8 * 120
