# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms between frames, from TF where tf2_ros is installed."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from referdino_core.errors import ReferDINOError
from referdino_core.following.geometry import rotation_of
from referdino_ros.following.conversions import check_finite, seconds_of

_CACHE = 10.0
"""Seconds of transforms that are kept."""
_ROUNDING = 500
"""Nanoseconds by which the double of a stamp may be later than the stamp: so much into the future
of the newest transform would be refused."""


@dataclass(frozen=True)
class FrameTransform:
    """Transform from one frame to another.

    Attributes:
        stamp: seconds; 0 for a static one. position: (3,) metres. rotation: (3, 3).
    """

    stamp: float
    position: np.ndarray
    rotation: np.ndarray


class Transforms:
    """Everything that is published on /tf and /tf_static, looked up without waiting."""

    def __init__(self, node: Node) -> None:
        """Listen with a node.

        Raises:
            ImportError: tf2_ros is not installed.
        """
        tf2_ros = importlib.import_module("tf2_ros")
        self._unknown: type[Exception] = tf2_ros.TransformException
        self._buffer: Any = tf2_ros.Buffer(cache_time=Duration(seconds=_CACHE))
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def find(self, target: str, source: str, stamp: float | None = None) -> FrameTransform | str:
        """From the frame `source` to the frame `target`, or why there is none.

        Args:
            stamp: seconds; None for the newest.
        """
        when = Time()
        if stamp is not None:
            when = Time(nanoseconds=max(round(stamp * 1e9) - _ROUNDING, 0))
        try:
            found = self._buffer.lookup_transform(target, source, when)
        except self._unknown as error:
            return f"TF knows no way from {source!r} to {target!r}: {error}"
        place, turn = found.transform.translation, found.transform.rotation
        try:
            check_finite(f"TF from {source!r}", *(place.x, place.y, place.z))
            check_finite(f"TF from {source!r}", *(turn.x, turn.y, turn.z, turn.w))
        except ReferDINOError as error:
            return str(error)
        return FrameTransform(
            seconds_of(found.header.stamp),
            np.array([place.x, place.y, place.z]),
            rotation_of(turn.x, turn.y, turn.z, turn.w),
        )

    def close(self) -> None:
        """Listen no longer."""
        self._listener.unregister()
