# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Pose of the base when an image was taken, interpolated from the odometry of the last seconds."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from referdino_core.following.geometry import Pose, wrap_angle

_WAY_MEMORY = 10.0
"""Seconds of the way that are kept: no image that is driven by is older."""


@dataclass(frozen=True)
class Odometry:
    """A pose of the base in the odometry frame, and its speeds, at a stamp.

    linear: metres per second forward. angular: radians per second to the left.
    """

    stamp: float
    pose: Pose
    linear: float = 0.0
    angular: float = 0.0


@dataclass(frozen=True)
class Way:
    """Way that a base has driven, as a function of time.

    It is told three times, by the commands, the measured speeds and the measured poses, and the
    longest counts: a base may report no speed, or not move as it was told.

    Attributes:
        marks: seconds, and the metres driven until then by each, of the last seconds.
        pose: of the base at the newest mark; None before odometry has come.
    """

    marks: tuple[tuple[float, float, float, float], ...] = ()
    pose: Pose | None = None

    def on(self, now: float, odometry: Odometry | None, commanded: float, seconds: float) -> Way:
        """The way a tick later.

        Args:
            now: seconds. seconds: since the tick before, as far as they count.
            commanded: metres per second.
        """
        _, commands, speeds, poses = self.marks[-1] if self.marks else (now, 0.0, 0.0, 0.0)
        pose = self.pose
        commands += abs(commanded) * seconds
        if odometry is not None:
            speeds += abs(odometry.linear) * seconds
            if pose is not None:
                poses += math.hypot(odometry.pose.x - pose.x, odometry.pose.y - pose.y)
            pose = odometry.pose
        kept = tuple(mark for mark in self.marks if now - _WAY_MEMORY <= mark[0] < now)
        return Way((*kept, (now, commands, speeds, poses)), pose)

    def since(self, stamp: float) -> float:
        """Metres driven since a stamp; from before the first mark, all that is known."""
        if not self.marks:
            return 0.0
        stamps, *ways = zip(*self.marks, strict=True)
        return max(way[-1] - float(np.interp(stamp, stamps, way)) for way in ways)


class PoseHistory:
    """Odometry of the last seconds, in order of its stamps. Not thread-safe."""

    def __init__(self, duration: float = 5.0, extrapolation: float = 0.1) -> None:
        """Make an empty history.

        Args:
            duration: seconds that are kept.
            extrapolation: seconds by which a pose may be asked for ahead of the newest odometry.
        """
        self._duration = duration
        self._extrapolation = extrapolation
        self._stamps: list[float] = []
        self._entries: list[Odometry] = []

    @property
    def newest(self) -> Odometry | None:
        """The newest odometry."""
        return self._entries[-1] if self._entries else None

    def add(self, odometry: Odometry) -> None:
        """Add odometry. A stamp that jumps back starts a new history."""
        if self._stamps and odometry.stamp <= self._stamps[-1]:
            if odometry.stamp == self._stamps[-1]:
                return
            self._stamps.clear()
            self._entries.clear()
        self._stamps.append(odometry.stamp)
        self._entries.append(odometry)
        surplus = bisect_left(self._stamps, odometry.stamp - self._duration)
        del self._stamps[:surplus], self._entries[:surplus]

    def at(self, stamp: float) -> Pose | str:
        """The pose at a stamp, or why it is not known."""
        if not self._entries:
            return "No odometry has come yet."
        ahead = stamp - self._stamps[-1]
        if ahead > self._extrapolation:
            return f"The newest odometry is {ahead:.3f} s older than the image."
        if stamp < self._stamps[0]:
            return f"The image is {self._stamps[0] - stamp:.3f} s older than the odometry kept."
        if ahead >= 0:
            newest = self._entries[-1]
            return newest.pose.compose(
                Pose(newest.linear * ahead, 0.0, wrap_angle(newest.angular * ahead))
            )
        place = bisect_left(self._stamps, stamp)
        if self._stamps[place] == stamp:
            return self._entries[place].pose
        before, after = self._entries[place - 1], self._entries[place]
        share = (stamp - before.stamp) / (after.stamp - before.stamp)
        old, new = before.pose, after.pose
        return Pose(
            old.x + share * (new.x - old.x),
            old.y + share * (new.y - old.y),
            wrap_angle(old.yaw + share * wrap_angle(new.yaw - old.yaw)),
        )
