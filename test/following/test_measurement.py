# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Position and extent from mask and depth, on bodies whose place is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from referdino_core.following.geometry import Intrinsics
from referdino_core.following.measurement import Measured, measure

CAMERA = Intrinsics(160, 120, 140.0, 140.0, 80.0, 60.0)
BACKGROUND = 4.0


def ball(centre: tuple[float, float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Mask and depth of a ball before a wall, by intersecting every pixel's ray."""
    rows, columns = np.indices((120, 160)).reshape(2, -1)
    rays = CAMERA.rays(rows, columns)
    along = rays @ centre
    square = (rays**2).sum(axis=1)
    root = along**2 - square * (np.dot(centre, centre) - radius**2)
    hit = root > 0
    depth = np.full(len(rays), BACKGROUND)
    depth[hit] = (along[hit] - np.sqrt(root[hit])) / square[hit]
    return hit.reshape(120, 160), depth.reshape(120, 160).astype(np.float32)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 2.0), (0.5, 0.2, 1.5), (-0.7, -0.3, 3.0)])
def test_a_ball_is_where_it_is_and_as_large_as_it_is(centre: tuple[float, float, float]) -> None:
    mask, depth = ball(centre, 0.2)
    found = measure(mask, depth, CAMERA)
    assert found.kind is Measured.POSITION and not found.truncated
    assert_allclose(found.centre, centre, atol=0.04)
    assert_allclose(found.radius, 0.2, atol=0.02)
    assert_allclose(found.size, [0.4, 0.4, 0.4], atol=0.05)


def test_a_leaking_mask_and_mixed_pixels_do_not_move_the_surface() -> None:
    mask, depth = ball((0.0, 0.0, 2.0), 0.3)
    leaking = mask.copy()
    leaking[:, 75:125] |= mask[:, 70:120]
    rim = mask & ~np.roll(mask, 1, axis=1)
    depth[rim] = 3.1
    found = measure(leaking, depth, CAMERA)
    assert found.surface is not None
    assert_allclose(found.surface[2], 1.7, atol=0.04)
    assert_allclose(found.centre, [0.0, 0.0, 2.0], atol=0.08)


def test_a_ring_is_nearer_than_what_shines_through_it() -> None:
    mask, depth = ball((0.0, 0.0, 2.0), 0.4)
    hole, _ = ball((0.0, 0.0, 2.0), 0.33)
    depth[mask] = 1.9
    depth[hole] = BACKGROUND
    found = measure(mask, depth, CAMERA)
    assert found.surface is not None
    assert_allclose(found.surface[2], 1.9, atol=0.03)


def test_the_expected_depth_chooses_between_layers() -> None:
    mask = np.zeros((120, 160), bool)
    mask[40:80, 60:100] = True
    depth = np.full((120, 160), 2.5, np.float32)
    depth[40:80, 60:75] = 1.0  # a post before the target
    assert measure(mask, depth, CAMERA).surface[2] == pytest.approx(1.0)  # type: ignore[index]
    kept = measure(mask, depth, CAMERA, expected_depth=2.4)
    assert kept.surface is not None
    assert kept.surface[2] == pytest.approx(2.5)


def test_a_target_cut_off_by_the_border_keeps_its_radius() -> None:
    mask, depth = ball((0.62, 0.0, 1.0), 0.3)
    cut = measure(mask, depth, CAMERA, expected_radius=0.3)
    whole = measure(*ball((0.0, 0.0, 1.0), 0.3), CAMERA)
    assert cut.truncated and cut.radius == pytest.approx(0.3)
    assert cut.covariance is not None and whole.covariance is not None
    assert cut.covariance[0, 0] > 2 * whole.covariance[0, 0]


@pytest.mark.parametrize("moved", range(0, 40, 4))
def test_a_screen_that_slides_before_a_target_never_shrinks_it(moved: int) -> None:
    mask, depth = ball((0.0, 0.0, 2.0), 0.3)
    whole = measure(mask, depth, CAMERA)
    screen = np.zeros_like(mask)
    screen[:, : 62 + moved] = True
    covers = (mask & screen).sum() > 0.05 * mask.sum()
    depth[screen] = 1.5
    seen = measure(mask & ~screen, depth, CAMERA, expected_radius=whole.radius)
    assert not whole.truncated
    if covers:
        assert seen.truncated and seen.radius == pytest.approx(whole.radius)


def test_half_of_a_target_behind_a_screen_keeps_its_radius_and_is_less_certain() -> None:
    mask, depth = ball((0.0, 0.0, 2.0), 0.3)
    whole = measure(mask, depth, CAMERA, expected_radius=0.3)
    mask[:, :90] = False
    half = measure(mask, depth, CAMERA, expected_radius=0.3)
    assert not whole.truncated and half.truncated
    assert half.radius == pytest.approx(0.3)
    assert half.centre is not None and half.covariance is not None
    sideways = half.centre[0] / np.sqrt(half.covariance[0, 0])
    assert half.centre[0] > 0.1 and sideways < 2.0


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda depth: np.full_like(depth, np.nan), "0 of"),
        (lambda depth: np.where(np.arange(160) % 40 == 0, depth, np.nan), "are needed"),
        (lambda depth: 1000 * depth, "millimetres that are declared as metres"),
        (lambda depth: depth + 30, "outside of 0.1 to 12 m"),
        (lambda depth: depth[:90], "another aspect ratio"),
        (lambda depth: None, "No depth image belongs"),
    ],
)
def test_without_depth_there_is_a_bearing_and_a_reason_with_numbers(spoil, words) -> None:  # type: ignore[no-untyped-def]
    mask, depth = ball((0.5, 0.0, 2.0), 0.2)
    found = measure(mask, spoil(depth), CAMERA)
    assert found.kind is Measured.BEARING and found.centre is None
    assert words in found.reason
    assert found.ray is not None
    assert_allclose(found.ray[0], 0.25, atol=0.01)


def test_an_empty_mask_measures_nothing() -> None:
    _, depth = ball((0.0, 0.0, 2.0), 0.2)
    found = measure(np.zeros((120, 160), bool), depth, CAMERA)
    assert found.kind is Measured.NOTHING
    assert "not seen" in found.reason


def test_depth_of_another_size_and_the_same_aspect_is_resampled() -> None:
    mask, depth = ball((0.0, 0.0, 2.0), 0.3)
    large = depth.repeat(4, axis=0).repeat(4, axis=1)
    assert_allclose(
        measure(mask, large, CAMERA).centre, measure(mask, depth, CAMERA).centre, atol=1e-6
    )


def test_a_few_pixels_are_not_eroded_away() -> None:
    mask = np.zeros((120, 160), bool)
    mask[60:65, 80:85] = True
    depth = np.full((120, 160), 3.0, np.float32)
    found = measure(mask, depth, CAMERA)
    assert found.kind is Measured.POSITION
    assert found.surface is not None and found.surface[2] == pytest.approx(3.0)


def test_the_covariance_grows_with_distance_along_the_ray() -> None:
    near = measure(*ball((0.0, 0.0, 1.0), 0.2), CAMERA).covariance
    far = measure(*ball((0.0, 0.0, 3.5), 0.2), CAMERA).covariance
    assert near is not None and far is not None
    assert far[2, 2] > near[2, 2] and far[0, 0] > near[0, 0]
    assert (np.linalg.eigvalsh(far) > 0).all()
