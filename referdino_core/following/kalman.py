# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Constant-velocity Kalman filter of a point in the plane, with a gate.

Own code, for filterpy 2.0 would bring matplotlib onto the robot for these few lines of algebra,
and its filter object is changed in place. Model: white acceleration (Bar-Shalom, Li, Kirubarajan,
Estimation with Applications to Tracking and Navigation, 2001, section 6.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from referdino_core.following.ranges import Ranged, quantity

GATE = 11.83
"""Squared Mahalanobis distance in two dimensions that holds 99.73 %: three sigma."""
_MOTION = np.eye(2)


@dataclass(frozen=True)
class FilterSettings(Ranged):
    """Noise and limits of a target's motion.

    Attributes:
        acceleration: standard deviation of the target's acceleration.
        first_speed: standard deviation of a target's speed before it was seen to move.
        max_speed: a faster estimate is cut down to this.
    """

    acceleration: float = quantity(0.4, 0.01, 10.0, "m/s²")
    first_speed: float = quantity(0.3, 0.0, 10.0, "m/s")
    max_speed: float = quantity(1.5, 0.1, 10.0, "m/s")


@dataclass(frozen=True, eq=False)
class Track:
    """Position and velocity of a target at a stamp, with their covariance.

    mean: (4,) x, y in metres, vx, vy in metres per second. covariance: (4, 4).
    """

    stamp: float
    mean: np.ndarray
    covariance: np.ndarray

    @property
    def position(self) -> np.ndarray:
        """(2,) metres."""
        return self.mean[:2]

    @property
    def velocity(self) -> np.ndarray:
        """(2,) metres per second."""
        return self.mean[2:]


@dataclass(frozen=True, eq=False)
class Update:
    """Result of an update: `distance` is the measurement's squared Mahalanobis distance."""

    track: Track
    accepted: bool
    distance: float


def begin_track(
    stamp: float, position: np.ndarray, covariance: np.ndarray, settings: FilterSettings
) -> Track:
    """A track of a target that was seen once: (2,) position and its (2, 2) covariance."""
    whole = np.zeros((4, 4))
    whole[:2, :2] = covariance
    whole[2:, 2:] = settings.first_speed**2 * np.eye(2)
    return Track(stamp, np.array([*position, 0.0, 0.0]), whole)


def predict(track: Track, stamp: float, settings: FilterSettings) -> Track:
    """The track at a later stamp; unchanged for an earlier one."""
    seconds = stamp - track.stamp
    if seconds <= 0:
        return track
    transition = np.eye(4)
    transition[:2, 2:] = seconds * _MOTION
    variance = settings.acceleration**2
    noise = np.block(
        [
            [seconds**4 / 4 * _MOTION, seconds**3 / 2 * _MOTION],
            [seconds**3 / 2 * _MOTION, seconds**2 * _MOTION],
        ]
    )
    covariance = transition @ track.covariance @ transition.T + variance * noise
    return Track(stamp, transition @ track.mean, covariance)


def update(
    track: Track,
    stamp: float,
    position: np.ndarray,
    covariance: np.ndarray,
    settings: FilterSettings,
) -> Update:
    """The track with a measurement of the same or a later stamp, unless the gate refuses it.

    A refused measurement leaves the track as it was, not even predicted.
    """
    predicted = predict(track, stamp, settings)
    innovation = np.asarray(position) - predicted.position
    spread = predicted.covariance[:2, :2] + covariance
    distance = float(innovation @ np.linalg.solve(spread, innovation))
    if not distance <= GATE:  # true of NaN, too
        return Update(track, False, distance)
    gain = np.linalg.solve(spread, predicted.covariance[:2, :]).T
    mean = predicted.mean + gain @ innovation
    speed = float(np.hypot(*mean[2:]))
    if speed > settings.max_speed:
        mean[2:] *= settings.max_speed / speed
    keep = np.eye(4)
    keep[:, :2] -= gain
    # Joseph's form stays symmetric and positive.
    joined = keep @ predicted.covariance @ keep.T + gain @ covariance @ gain.T
    return Update(Track(stamp, mean, joined), True, distance)
