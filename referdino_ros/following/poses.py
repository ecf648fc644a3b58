# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Places of a target that something else found: poses in any frame, or a frame of TF."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node

from referdino_core.errors import ReferDINOError
from referdino_core.following import Measured, Observation
from referdino_core.target import TargetState
from referdino_ros.following.conversions import check_finite, seconds_of
from referdino_ros.following.transforms import FrameTransform, Transforms

_DEVIATION = 0.05
"""Metres; what a bare pose is believed to be off by."""
_APART = 0.2
"""Seconds by which the newest transform may differ from a pose that TF has not caught up with."""


class TargetPoses:
    """Brings places of a target into the odometry frame, which a follower drives in.

    TF is listened to from the first time that it is needed.

    Attributes:
        odometry_frame: name of that frame, which may be empty; None until odometry has come.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._transforms: Transforms | None = None
        self._lock = threading.Lock()
        self.odometry_frame: str | None = None

    def from_pose(self, message: Any) -> Observation | str:
        """A `geometry_msgs/PoseStamped` as a sight, or why it cannot be driven by.

        A pose without a frame is taken to be in the odometry frame.
        """
        if self.odometry_frame is None:
            return "No odometry has come yet."
        frame, wanted = _bare(message.header.frame_id), _bare(self.odometry_frame)
        place = message.pose.position
        position, stamp = np.array([place.x, place.y, place.z]), seconds_of(message.header.stamp)
        try:
            check_finite("The target's pose", *position)
        except ReferDINOError as error:
            return str(error)
        if frame and wanted and frame != wanted:
            found = self._find(frame, wanted, stamp)
            if isinstance(found, str):
                return found
            position = found.rotation @ position + found.position
        return _observation(stamp, position)

    def from_frame(self, frame: str, now: float) -> Observation | str:
        """The origin of a frame as a sight, or why TF does not know it.

        Args:
            now: seconds; the stamp of a frame that never moves.
        """
        if not self.odometry_frame:
            return "No odometry with a frame has come yet."
        found = self._find(_bare(frame), _bare(self.odometry_frame), None)
        if isinstance(found, str):
            return found
        return _observation(found.stamp or now, found.position)

    def close(self) -> None:
        """Listen to TF no longer."""
        if self._transforms is not None:
            self._transforms.close()
            self._transforms = None

    def _find(self, frame: str, wanted: str, stamp: float | None) -> FrameTransform | str:
        try:
            with self._lock:
                self._transforms = transforms = self._transforms or Transforms(self._node)
        except ImportError:
            return (
                f"The target is in the frame {frame!r}, odometry in {wanted!r}, and tf2_ros is "
                "not installed. Install it, or publish poses in the odometry frame."
            )
        found = transforms.find(wanted, frame, stamp)
        if stamp is not None and isinstance(found, str):
            newest = transforms.find(wanted, frame)
            if isinstance(newest, FrameTransform) and abs(newest.stamp - stamp) <= _APART:
                return newest
        return found


@dataclass
class FrameSights:
    """Sights of a frame of TF, one at every new transform.

    Attributes:
        complaint: why there is none at the moment; "" where there is.
        came: whether there has been one.
    """

    poses: TargetPoses
    frame: str
    complaint: str = ""
    came: bool = False
    _stamp: float = -1.0

    def next(self, now: float) -> Observation | None:
        """The frame's place, if it is known and newer than the one before."""
        found = self.poses.from_frame(self.frame, now)
        if isinstance(found, str):
            self.complaint = found
            return None
        self.complaint = ""
        if found.stamp == self._stamp:
            return None
        self.came, self._stamp = True, found.stamp
        return found


def _observation(stamp: float, position: np.ndarray) -> Observation:
    return Observation(
        stamp,
        1,
        TargetState.TRACKING,
        kind=Measured.POSITION,
        position=position[:2],
        covariance=_DEVIATION**2 * np.eye(2),
        height=float(position[2]),
    )


def _bare(frame: str) -> str:
    """A frame's name without the slash that older software puts before it."""
    return frame.removeprefix("/")
