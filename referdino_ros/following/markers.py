# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`visualization_msgs/MarkerArray` of located targets, for RViz and Foxglove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Duration

from referdino_core.following import Measured
from referdino_core.target import TargetState
from referdino_ros.following.joining import Located
from referdino_ros.messages import message_class

ARRAY = "visualization_msgs/msg/MarkerArray"
_LIFETIME = 2
"""Seconds after which a marker that is not renewed is gone."""
_SEEN, _UNSEEN = (0.1, 0.8, 0.3, 0.6), (0.9, 0.6, 0.1, 0.4)
_TEXT_SIZE = 0.15


def marker_array(located: Sequence[Located], header: Any) -> Any:
    """A ball and a line of text for each target that has a position.

    Args:
        header: the image's stamp and the odometry frame.
    """
    array = message_class(ARRAY)()
    for number, one in enumerate(located):
        position = one.observation.position
        if one.observation.kind is not Measured.POSITION or position is None:
            continue
        x, y, z = float(position[0]), float(position[1]), one.observation.height
        ball = _marker(header, "targets", number, (x, y, z))
        ball.type = ball.SPHERE
        ball.scale.x = ball.scale.y = ball.scale.z = max(2 * one.observation.radius, 0.05)
        seen = one.target.state is TargetState.TRACKING
        _paint(ball, _SEEN if seen else _UNSEEN)
        words = _marker(header, "sentences", number, (x, y, z + one.observation.radius + 0.15))
        words.type, words.scale.z = words.TEXT_VIEW_FACING, _TEXT_SIZE
        words.text = f"{one.target.command} ({one.target.track_id}, {one.target.state.value})"
        _paint(words, (1.0, 1.0, 1.0, 1.0))
        array.markers += [ball, words]
    return array


def _marker(header: Any, namespace: str, number: int, place: tuple[float, float, float]) -> Any:
    marker = message_class("visualization_msgs/msg/Marker")()
    marker.header, marker.ns, marker.id = header, namespace, number
    marker.action, marker.lifetime = marker.ADD, Duration(sec=_LIFETIME)
    marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = place
    marker.pose.orientation.w = 1.0
    return marker


def _paint(marker: Any, rgba: tuple[float, float, float, float]) -> None:
    marker.color.r, marker.color.g, marker.color.b, marker.color.a = rgba
