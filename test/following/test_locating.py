# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Targets of a session to observations, with what is remembered between images."""

from __future__ import annotations

import numpy as np
import pytest

from referdino_core.following import Intrinsics, Measured, Mounting, PlaceEvidence, Pose
from referdino_core.following.locating import TargetLocator
from referdino_core.target import Target, TargetState, box_around

CAMERA = Intrinsics(160, 120, 140.0, 140.0, 79.5, 59.5)


def target(mask: np.ndarray, track_id: int = 3) -> Target:
    return Target("a", "the box", track_id, TargetState.TRACKING, 0.8, 0.8, box_around(mask), mask)


def square(left: int, right: int, metres: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((120, 160), bool)
    mask[40:80, left:right] = True
    return mask, np.where(mask, metres, 5.0).astype(np.float32)


def test_a_part_of_a_known_object_keeps_the_radius_of_the_whole() -> None:
    locator = TargetLocator(Mounting(z=0.5))
    mask, depth = square(60, 100)
    whole, _ = locator.locate(1.0, target(mask), depth, CAMERA, Pose())
    assert not whole.truncated and whole.track_id == 3 and whole.score == 0.8
    part, _ = locator.locate(1.1, target(square(60, 75)[0]), depth, CAMERA, Pose())
    assert part.truncated and part.radius == pytest.approx(whole.radius)
    other, _ = locator.locate(1.2, target(square(60, 75)[0], 4), depth, CAMERA, Pose())
    assert not other.truncated and other.radius < 0.5 * whole.radius


def test_a_radius_that_was_never_confirmed_is_forgotten() -> None:
    locator = TargetLocator(Mounting(z=0.5))
    mask, depth = square(40, 120)
    locator.locate(1.0, target(mask), depth, CAMERA, Pose())
    small, depth = square(70, 85)
    found = None
    for tick in range(1, 120):
        found, _ = locator.locate(1.0 + tick / 10, target(small), depth, CAMERA, Pose())
    assert found is not None and not found.truncated


def test_without_a_pose_there_is_no_place_and_a_reason() -> None:
    locator = TargetLocator(Mounting(z=0.5))
    mask, depth = square(60, 100)
    observation, _ = locator.locate(1.0, target(mask), depth, CAMERA, "No odometry has come yet.")
    assert observation.kind is Measured.NOTHING and observation.position is None
    assert observation.reason == "No odometry has come yet."


def test_without_depth_there_is_a_bearing_and_the_reason_that_was_given() -> None:
    locator = TargetLocator(Mounting(z=0.5))
    mask, _ = square(100, 120)
    observation, measurement = locator.locate(
        1.0, target(mask), None, CAMERA, Pose(), "Depth is 0.5 s late."
    )
    assert observation.kind is Measured.BEARING and measurement.centre is None
    assert observation.bearing is not None and observation.bearing < -0.1
    assert observation.reason == "Depth is 0.5 s late."


@pytest.mark.parametrize(
    ("metres", "place"),
    [
        (2.0, PlaceEvidence.PRESENT),
        (1.0, PlaceEvidence.HIDDEN),
        (4.0, PlaceEvidence.EMPTY),
        (float("nan"), PlaceEvidence.UNKNOWN),
    ],
)
def test_depth_tells_what_is_at_the_place_of_a_target_that_is_not_seen(
    metres: float, place: PlaceEvidence
) -> None:
    locator = TargetLocator(Mounting(z=0.5))
    mask, depth = square(60, 100)
    seen, _ = locator.locate(1.0, target(mask), depth, CAMERA, Pose())
    assert seen.place is PlaceEvidence.UNKNOWN
    later = np.full_like(depth, metres)
    # The base has turned a little meanwhile: the place is elsewhere in the image.
    unseen = target(np.zeros_like(mask))
    found, _ = locator.locate(9.0, unseen, later, CAMERA, Pose(yaw=0.2))
    assert found.place is place
    behind, _ = locator.locate(10.0, unseen, later, CAMERA, Pose(yaw=3.0))
    assert behind.place is PlaceEvidence.UNKNOWN


def test_a_twin_beside_the_target_does_not_take_its_place() -> None:
    locator = TargetLocator(Mounting(z=0.5))
    mask, depth = square(40, 70)
    locator.locate(1.0, target(mask), depth, CAMERA, Pose())
    other = np.roll(mask, 50, axis=1)
    both = np.where(mask | other, 2.0, 5.0).astype(np.float32)
    for tick in range(1, 30):
        stolen, _ = locator.locate(1.0 + tick / 10, target(other), both, CAMERA, Pose())
        assert stolen.place is PlaceEvidence.PRESENT
    moved = np.where(other, 2.0, 5.0).astype(np.float32)
    gone, _ = locator.locate(5.0, target(other), moved, CAMERA, Pose())
    assert gone.place is PlaceEvidence.EMPTY
    settled, _ = locator.locate(5.1, target(other), moved, CAMERA, Pose())
    assert settled.place is PlaceEvidence.UNKNOWN
