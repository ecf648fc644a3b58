# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From a session's targets to observations: mask, depth, mounting and odometry put together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from referdino_core.following.geometry import Intrinsics, Mounting, Pose
from referdino_core.following.measurement import (
    Measured,
    Measurement,
    MeasurementSettings,
    measure,
)
from referdino_core.following.observation import (
    Observation,
    PlaceEvidence,
    observe,
    place_evidence,
)
from referdino_core.target import Target

_MEMORY = 1.0
"""Seconds for which an object's depth and radius are expected to be much the same."""
_PLACE_MEMORY = 30.0
"""Seconds for which the place of an object that is not seen is looked at."""
_JUMP = 0.35
"""Metres between two measurements of an identity, above which its earlier place is looked at."""
_FORGETTING = 5.0
"""Seconds in which the radius of an object that is never seen whole is forgotten: a mask that
leaked once must not make it larger for ever."""


@dataclass(frozen=True, eq=False)
class _Last:
    """A measurement: of its image's stamp, the surface's depth, the radius, and the centre (3,) in
    the odometry frame.
    """

    stamp: float
    depth: float
    radius: float
    centre: np.ndarray


class TargetLocator:
    """Measures targets image by image; remembers the depth and radius of each identity.

    Not thread-safe.
    """

    def __init__(self, mounting: Mounting, settings: MeasurementSettings | None = None) -> None:
        self.mounting = mounting
        self.settings = settings or MeasurementSettings()
        self._last: dict[tuple[str, int], _Last] = {}

    def locate(
        self,
        stamp: float,
        target: Target,
        depth: np.ndarray | None,
        intrinsics: Intrinsics,
        pose: Pose | str,
        no_depth_reason: str = "No depth image belongs to this image.",
    ) -> tuple[Observation, Measurement]:
        """The observation of a target in an image, and the measurement that it rests on.

        Args:
            stamp: of the image, seconds.
            depth: (H, W) metres, NaN where invalid, aligned to the image; None for want of one.
            intrinsics: of the image.
            pose: of the base in the odometry frame at that stamp, or why it is not known.
            no_depth_reason: what to say where depth is None.
        """
        self._forget(stamp)
        key = (target.command_id, target.track_id)
        before = self._last.get(key)
        last = before if before is not None and stamp - before.stamp <= _MEMORY else None
        measurement = measure(
            target.mask,
            depth,
            intrinsics,
            self.settings,
            expected_depth=None if last is None else last.depth,
            expected_radius=None if last is None else last.radius,
            no_depth_reason=no_depth_reason,
        )
        if isinstance(pose, str):
            measurement = Measurement(Measured.NOTHING, reason=pose)
            pose = Pose()
        noted = self._noted(stamp, measurement, pose, last)
        gone = noted is None and not target.mask.any()
        place = PlaceEvidence.UNKNOWN
        if before is not None and depth is not None and (gone or _has_jumped(before, noted)):
            scaled = intrinsics.scaled(depth.shape[1], depth.shape[0])
            place = place_evidence(depth, scaled, self.mounting, pose, before.centre, before.radius)
        # What still stands at its place is not what was measured elsewhere.
        if noted is not None and place is not PlaceEvidence.PRESENT:
            self._last[key] = noted
        observation = observe(
            stamp,
            target.track_id,
            target.state,
            measurement,
            self.mounting,
            pose,
            score=target.score,
            judgement=target.judgement,
        )
        return replace(observation, place=place), measurement

    def _forget(self, stamp: float) -> None:
        """Drop what was remembered too long before an image, or after it."""
        self._last = {
            key: last
            for key, last in self._last.items()
            if 0 <= stamp - last.stamp <= _PLACE_MEMORY
        }

    def _noted(
        self, stamp: float, measurement: Measurement, pose: Pose, last: _Last | None
    ) -> _Last | None:
        """What is to be remembered of a measurement; None where there is no position."""
        surface, centre, radius = measurement.surface, measurement.centre, measurement.radius
        if surface is None or centre is None or radius is None:
            return None
        if measurement.truncated and last is not None:
            radius *= math.exp((last.stamp - stamp) / _FORGETTING)
        base = self.mounting.to_base(centre)
        place = np.array([*pose.outward(base[:2]), base[2]])
        return _Last(stamp, float(surface[2]), radius, place)


def _has_jumped(before: _Last, noted: _Last | None) -> bool:
    """Whether an object was measured farther from its last place than it can have moved."""
    return noted is not None and float(np.hypot(*(noted.centre - before.centre)[:2])) > _JUMP
