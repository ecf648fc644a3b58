# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Observation of a followed object: identity, state and position in the odometry frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from referdino_core.following.geometry import Intrinsics, Mounting, Pose, wrap_angle
from referdino_core.following.measurement import Measured, Measurement
from referdino_core.target import Judgement, TargetState

_SAME_DEPTH = 0.2
"""Metres by which a surface may be nearer or farther and still be a target's."""


class PlaceEvidence(str, Enum):
    """Evidence from depth at the place where an unseen target was measured last.

    unknown: that place is not in the image, or has no depth. hidden: something nearer is before it.
    present: something is there, but it is not recognised. empty: nothing is there any more.
    """

    UNKNOWN = "unknown"
    HIDDEN = "hidden"
    PRESENT = "present"
    EMPTY = "empty"


@dataclass(frozen=True, eq=False)
class Observation:
    """A target in one image, as a follower needs it.

    Attributes:
        stamp: the image's, seconds.
        track_id: identity of the object, from 1; 0 while none is picked.
        state: where the target stands.
        score: average probability that this object is meant, 0 to 1.
        kind: what was measured of it.
        position: (2,) metres, its centre on the floor in the odometry frame; None without depth.
        covariance: (2, 2) of the position.
        height: metres of the centre above the floor.
        radius: metres from the centre to the surface.
        bearing: direction from the base's origin in the odometry frame, radians; None if unseen.
        truncated: whether only a part of it is seen.
        judgement: whether the model was able to judge the image.
        reason: why it has no position; "" where it has one.
        place: where it is not seen, or is measured far from where it was, what depth shows at its
            earlier place.
        free_distance: metres ahead of the base's origin to whatever is not the target, when the
            image was taken; NaN where the corridor is not seen, None from a source that does not
            look.
        stream: number of the stream of results that gave it its identity.
    """

    stamp: float
    track_id: int
    state: TargetState
    score: float = 1.0
    kind: Measured = Measured.NOTHING
    position: np.ndarray | None = None
    covariance: np.ndarray | None = None
    height: float = 0.0
    radius: float = 0.0
    bearing: float | None = None
    truncated: bool = False
    judgement: Judgement = Judgement.JUDGED
    reason: str = ""
    place: PlaceEvidence = PlaceEvidence.UNKNOWN
    free_distance: float | None = None
    stream: int = 0

    @property
    def is_finite(self) -> bool:
        """Whether everything that was measured is a number; the free distance may be none."""
        numbers = [self.stamp, self.score, self.height, self.radius, self.bearing or 0.0]
        arrays = [one for one in (self.position, self.covariance) if one is not None]
        return all(map(math.isfinite, numbers)) and all(np.isfinite(one).all() for one in arrays)


def observe(
    stamp: float,
    track_id: int,
    state: TargetState,
    measurement: Measurement,
    mounting: Mounting,
    pose: Pose,
    *,
    score: float = 1.0,
    judgement: Judgement = Judgement.JUDGED,
) -> Observation:
    """The observation of a measurement.

    Args:
        stamp: of the image, seconds.
        mounting: of the camera on the base.
        pose: of the base in the odometry frame when the image was taken, not now.
    """
    if measurement.kind is Measured.NOTHING or measurement.ray is None:
        return Observation(
            stamp, track_id, state, score, judgement=judgement, reason=measurement.reason
        )
    direction = mounting.rotation @ measurement.ray
    bearing = wrap_angle(pose.yaw + math.atan2(direction[1], direction[0]))
    if measurement.centre is None or measurement.covariance is None or measurement.radius is None:
        return Observation(
            stamp,
            track_id,
            state,
            score,
            kind=measurement.kind,
            bearing=bearing,
            truncated=measurement.truncated,
            judgement=judgement,
            reason=measurement.reason,
        )
    centre = mounting.to_base(measurement.centre)
    position = pose.outward(centre[:2])
    turn = pose.rotation @ mounting.rotation[:2]
    offset = position - (pose.x, pose.y)
    return Observation(
        stamp,
        track_id,
        state,
        score,
        kind=measurement.kind,
        position=position,
        covariance=turn @ measurement.covariance @ turn.T,
        height=float(centre[2]),
        radius=measurement.radius,
        bearing=math.atan2(offset[1], offset[0]),
        truncated=measurement.truncated,
        judgement=judgement,
    )


def place_evidence(
    depth: np.ndarray,
    intrinsics: Intrinsics,
    mounting: Mounting,
    pose: Pose,
    centre: np.ndarray,
    radius: float,
) -> PlaceEvidence:
    """Evidence from depth at the place where a target was measured before.

    Args:
        depth: (H, W) metres, NaN where invalid, of an image with these intrinsics.
        pose: of the base in the odometry frame when the image was taken.
        centre: (3,) metres of the target then, in the odometry frame.
        radius: metres from its centre to its surface.
    """
    base = np.array([*pose.inward(centre[:2]), centre[2]])
    optical = mounting.to_optical(base)
    if not (np.isfinite(optical).all() and optical[2] >= 0.1):
        return PlaceEvidence.UNKNOWN
    row, column = map(float, intrinsics.pixels(optical))
    reach = max(1.0, 0.5 * radius * intrinsics.fx / optical[2])
    rows = slice(max(0, round(row - reach)), max(0, round(row + reach) + 1))
    columns = slice(max(0, round(column - reach)), max(0, round(column + reach) + 1))
    patch = depth[rows, columns]
    seen = patch[np.isfinite(patch)]
    if not len(seen):
        return PlaceEvidence.UNKNOWN
    ahead = float(np.median(seen)) - (float(optical[2]) - radius)
    if ahead < -_SAME_DEPTH:
        return PlaceEvidence.HIDDEN
    return PlaceEvidence.PRESENT if ahead <= radius + _SAME_DEPTH else PlaceEvidence.EMPTY
