# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Results, depth and odometry put together by stamp; knows messages, but no node."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.following import (
    DepthBuffer,
    DepthBufferSettings,
    Intrinsics,
    Join,
    Measurement,
    MeasurementSettings,
    Mounting,
    Observation,
    Odometry,
    Pose,
    PoseHistory,
    depth_from_message,
)
from referdino_core.following.clearance import Corridor, CorridorSettings
from referdino_core.following.locating import TargetLocator
from referdino_core.following.measurement import resampled
from referdino_core.target import Target
from referdino_ros.following.camera_mounting import MountingSource
from referdino_ros.following.conversions import (
    intrinsics_from_message,
    odometry_from_message,
    seconds_of,
    targets_from_message,
)

MAX_WAITING = 8
"""Results that wait for their depth; the oldest goes on without."""


@dataclass(frozen=True)
class JoinSettings:
    """Tolerances of the join.

    wait: seconds for which a result waits for its depth and odometry.
    """

    buffer: DepthBufferSettings
    measurement: MeasurementSettings
    corridor: CorridorSettings
    wait: float = 0.3


@dataclass(frozen=True, eq=False)
class Located:
    """A target with its position.

    surface: (3,) metres, the point that faces the camera, in the odometry frame. free: metres ahead
    of the base to anything else; NaN without depth. pose: of the base, None where it is not known.
    """

    target: Target
    observation: Observation
    measurement: Measurement
    surface: np.ndarray | None
    free: float
    pose: Pose | None


class Joiner:
    """Puts results, depth and odometry together and hands them on, in the order of the results.

    Not thread-safe. `complaints` holds what to tell a user, by topic; "" where all is well.
    """

    def __init__(
        self,
        settings: JoinSettings,
        mounting: MountingSource,
        hand_on: Callable[[Any, list[Located]], None],
    ) -> None:
        """Make one.

        Args:
            hand_on: called with a `referdino/ReferredObjectArray` and its located targets.
        """
        self.settings = settings
        self._mountings = mounting
        self.complaints: dict[str, str] = {}
        self.intrinsics: Intrinsics | None = None
        self._hand_on = hand_on
        self._depths = DepthBuffer(settings.buffer)
        self._poses = PoseHistory()
        self._locator = TargetLocator(Mounting(), settings.measurement)
        self._waiting: deque[tuple[float, Any]] = deque()
        self._corridors: dict[tuple[str, int], Corridor] = {}

    @property
    def newest_odometry(self) -> Odometry | None:
        """The newest odometry; None before the first."""
        return self._poses.newest

    def take_depth(self, message: Any) -> None:
        """Take a depth image in."""
        try:
            depth = depth_from_message(message)
        except ReferDINOError as error:
            self.complaints["depth"] = str(error)
            return
        self.complaints["depth"] = self._depths.add(seconds_of(message.header.stamp), depth)

    def take_camera_info(self, message: Any) -> None:
        """Take the camera's calibration in."""
        try:
            self.intrinsics = intrinsics_from_message(message)
            self.complaints["camera_info"] = ""
        except ReferDINOError as error:
            self.complaints["camera_info"] = str(error)

    def take_odometry(self, message: Any) -> None:
        """Take odometry in."""
        try:
            self._poses.add(odometry_from_message(message))
            self.complaints["odometry"] = ""
        except ReferDINOError as error:
            self.complaints["odometry"] = str(error)

    def take_result(self, message: Any, now: float) -> None:
        """Take a result in; now: seconds of a steady clock."""
        self._waiting.append((now, message))
        while len(self._waiting) > MAX_WAITING:
            self._locate(self._waiting.popleft()[1])
        self.work_off(now)

    def work_off(self, now: float) -> None:
        """Hand on what waited long enough, or for what is there by now."""
        while self._waiting:
            since, message = self._waiting[0]
            if now - since < self.settings.wait and self._may_still_come(message):
                return
            self._waiting.popleft()
            self._locate(message)

    def _may_still_come(self, message: Any) -> bool:
        stamp = seconds_of(message.header.stamp)
        pending = len(self._depths) > 0 and self._depths.find(stamp).join is Join.PENDING
        unknown = isinstance(self._mountings.at(message.header.frame_id, stamp), str)
        late = self._poses.newest is not None and isinstance(self._poses.at(stamp), str)
        return pending or unknown or late

    def _locate(self, message: Any) -> None:
        stamp = seconds_of(message.header.stamp)
        targets = targets_from_message(message)
        corridors = self._corridors_of(targets)
        match = self._depths.find(stamp)
        self.complaints["join"] = "" if match.join is Join.NEAREST else match.reason
        pose = self._poses.at(stamp)
        self.complaints["odom"] = pose if isinstance(pose, str) else ""
        mounting = self._mountings.at(message.header.frame_id, stamp)
        self.complaints["mounting"] = mounting if isinstance(mounting, str) else ""
        if isinstance(mounting, str):
            pose = mounting
        else:
            self._locator.mounting = mounting
        intrinsics = self.intrinsics
        if intrinsics is None:
            told = self.complaints.get("camera_info") or "No camera_info has come yet."
            self.complaints["camera_info"] = told
            self._hand_on(message, [])
            return
        self._hand_on(
            message,
            [
                self._located(stamp, target, corridor, match.depth, intrinsics, pose, match.reason)
                for target, corridor in zip(targets, corridors, strict=True)
            ],
        )

    def _corridors_of(self, targets: list[Target]) -> list[Corridor]:
        """The corridor of each target: of its command, or of its identity where it has several."""
        several = Counter(target.command_id for target in targets)
        keys = [
            (target.command_id, target.track_id if several[target.command_id] > 1 else 0)
            for target in targets
        ]
        before, settings = self._corridors, self.settings.corridor
        self._corridors = {key: before.get(key) or Corridor(settings) for key in keys}
        return [self._corridors[key] for key in keys]

    def _located(
        self,
        stamp: float,
        target: Target,
        corridor: Corridor,
        depth: np.ndarray | None,
        intrinsics: Intrinsics,
        pose: Pose | str,
        reason: str,
    ) -> Located:
        observation, measurement = self._locator.locate(
            stamp, target, depth, intrinsics, pose, reason or "No depth image belongs to it."
        )
        surface = None
        if measurement.surface is not None and isinstance(pose, Pose):
            surface = self.to_odometry(measurement.surface[None], pose)[0]
        known = pose if isinstance(pose, Pose) else None
        free = math.nan
        aligned = None if depth is None else resampled(depth, target.mask.shape)
        if aligned is not None:
            scaled = intrinsics.scaled(aligned.shape[1], aligned.shape[0])
            free = corridor.free_distance(
                stamp, aligned, target.mask, scaled, self._locator.mounting, known
            )
        return Located(target, observation, measurement, surface, free, known)

    def to_odometry(self, points: np.ndarray, pose: Pose) -> np.ndarray:
        """Points (N, 3) of the optical frame in the odometry frame."""
        base = self._locator.mounting.to_base(points)
        base[:, :2] = pose.outward(base[:, :2])
        return base

    def cloud_of(self, located: Located, stamp: float) -> np.ndarray:
        """Points (N, 3) of a target's pixels in the odometry frame; none without depth or pose."""
        found, intrinsics = self._depths.find(stamp).depth, self.intrinsics
        mask, pose = located.target.mask, located.pose
        depth = None if found is None else resampled(found, mask.shape)
        if depth is None or intrinsics is None or pose is None:
            return np.zeros((0, 3))
        rows, columns = np.nonzero(mask & np.isfinite(depth))
        scaled = intrinsics.scaled(mask.shape[1], mask.shape[0])
        rays = scaled.rays(rows, columns) * depth[rows, columns].astype(np.float64)[:, None]
        return self.to_odometry(rays, pose)
