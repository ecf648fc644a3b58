# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs of the node `targets_3d`: located targets, point clouds and markers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from referdino.msg import LocatedTarget, LocatedTargetArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from referdino_core.following import Measured
from referdino_core.target import TargetState
from referdino_ros.following.conversions import fill_located, seconds_of
from referdino_ros.following.joining import Joiner, Located
from referdino_ros.messages import byte_array, message_class

_POINT_SIZE = 12
"""Bytes of a point."""


def point_cloud(points: np.ndarray, header: Any) -> PointCloud2:
    """A cloud of (N, 3) points, unordered; what is not finite is left out."""
    finite = np.ascontiguousarray(points[np.isfinite(points).all(axis=1)], np.float32)
    cloud = PointCloud2()
    cloud.header = header
    cloud.height, cloud.width = 1, len(finite)
    cloud.fields = [
        PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, name in enumerate("xyz")
    ]
    cloud.point_step, cloud.row_step = _POINT_SIZE, _POINT_SIZE * len(finite)
    cloud.is_bigendian, cloud.is_dense = False, True
    if len(finite):
        cloud.data = byte_array(finite)
    return cloud


_MARKER_ARRAY = "visualization_msgs/msg/MarkerArray"
_LIFETIME = 2
"""Seconds after which a marker that is not renewed is gone."""
_SEEN, _UNSEEN = (0.1, 0.8, 0.3, 0.6), (0.9, 0.6, 0.1, 0.4)
_TEXT_SIZE = 0.15


def marker_array(located: Sequence[Located], header: Any) -> Any:
    """A ball and a line of text for each target that has a position.

    Args:
        header: the image's stamp and the odometry frame.
    """
    array = message_class(_MARKER_ARRAY)()
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


class TargetOutputs:
    """The publishers of a node `targets_3d`.

    `~/targets` always; `~/target_pose`, reliable and keep-last 1 as Nav2's following server wants
    it; `~/points`; `~/detections` where vision_msgs is installed; `~/markers` where
    visualization_msgs is; a frame `target/COMMAND` where tf2_msgs is.
    """

    def __init__(self, node: Node, frame: str, command_id: str) -> None:
        """Make the publishers.

        Args:
            frame: the odometry frame.
            command_id: of the command whose pose and points are published; "" for the first that
                has a position.
        """
        self._frame, self._command_id = frame, command_id
        self._targets = node.create_publisher(LocatedTargetArray, "~/targets", 10)
        self._pose = node.create_publisher(PoseStamped, "~/target_pose", QoSProfile(depth=1))
        self._points = node.create_publisher(PointCloud2, "~/points", 1)
        self._detections = _optional(node, "vision_msgs/msg/Detection3DArray", "~/detections")
        self._markers = _optional(node, _MARKER_ARRAY, "~/markers")
        self._frames = _optional(node, "tf2_msgs/msg/TFMessage", "/tf")

    def publish(self, message: Any, located: Sequence[Located], joiner: Joiner) -> None:
        """Publish what was located for a `referdino/ReferredObjectArray`."""
        self._targets.publish(self._array(message, located))
        chosen = self._chosen(located)
        if chosen is not None:
            pose = self._pose_message(message, chosen)
            self._pose.publish(pose)
            if self._frames is not None:
                self._frames.publish(_frame_message(pose, chosen.target.command_id))
            if self._points.get_subscription_count():
                cloud = joiner.cloud_of(chosen, seconds_of(message.header.stamp))
                self._points.publish(point_cloud(cloud, pose.header))
        if self._detections is not None and self._detections.get_subscription_count():
            self._detections.publish(self._detection_array(message, located))
        if self._markers is not None and self._markers.get_subscription_count():
            header = Header(stamp=message.header.stamp, frame_id=self._frame)
            self._markers.publish(marker_array(located, header))

    def _chosen(self, located: Sequence[Located]) -> Located | None:
        """The target whose pose is published: one that is seen now, with a position."""
        for one in located:
            meant = self._command_id in ("", one.target.command_id)
            seen = one.target.state is TargetState.TRACKING
            if meant and seen and one.observation.kind is Measured.POSITION:
                return one
        return None

    def _array(self, message: Any, located: Sequence[Located]) -> LocatedTargetArray:
        array = LocatedTargetArray()
        array.header.stamp, array.header.frame_id = message.header.stamp, self._frame
        array.camera_frame = message.header.frame_id
        array.judgement, array.stream = message.judgement, message.stream
        for one in located:
            entry = fill_located(LocatedTarget(), one.target, one.observation, one.measurement)
            if one.surface is not None:
                x, y, z = map(float, one.surface)
                entry.surface.x, entry.surface.y, entry.surface.z = x, y, z
            entry.free_distance = one.free
            array.targets.append(entry)
        return array

    def _pose_message(self, message: Any, located: Located) -> PoseStamped:
        """The centre, turned away from the robot along the line of sight."""
        observation = located.observation
        assert observation.position is not None
        assert observation.bearing is not None
        pose = PoseStamped()
        pose.header.stamp, pose.header.frame_id = message.header.stamp, self._frame
        x, y = observation.position
        pose.pose.position.x, pose.pose.position.y = float(x), float(y)
        pose.pose.position.z = observation.height
        pose.pose.orientation.z = math.sin(observation.bearing / 2)
        pose.pose.orientation.w = math.cos(observation.bearing / 2)
        return pose

    def _detection_array(self, message: Any, located: Sequence[Located]) -> Any:
        """A `vision_msgs/Detection3DArray` with the image's stamp, in the odometry frame."""
        array = message_class("vision_msgs/msg/Detection3DArray")()
        array.header.stamp, array.header.frame_id = message.header.stamp, self._frame
        for one in located:
            if one.observation.kind is not Measured.POSITION or one.measurement.size is None:
                continue
            pose = self._pose_message(message, one).pose
            detection = message_class("vision_msgs/msg/Detection3D")()
            detection.header, detection.id = array.header, str(one.target.track_id)
            detection.bbox.center = pose
            width, height, depth = map(float, one.measurement.size)
            size = detection.bbox.size
            size.x, size.y, size.z = depth, width, height  # x is along the line of sight
            hypothesis = message_class("vision_msgs/msg/ObjectHypothesisWithPose")()
            hypothesis.hypothesis.class_id = one.target.command
            hypothesis.hypothesis.score = float(one.target.score)
            hypothesis.pose.pose = pose
            detection.results.append(hypothesis)
            array.detections.append(detection)
        return array


def _optional(node: Node, kind: str, topic: str) -> Any:
    """A publisher, or None where the type's package is not installed."""
    try:
        return node.create_publisher(message_class(kind), topic, 10)
    except ImportError:
        return None


def _frame_message(pose: PoseStamped, command_id: str) -> Any:
    """A `tf2_msgs/TFMessage` with the frame of a command's target."""
    transform = message_class("geometry_msgs/msg/TransformStamped")()
    transform.header = pose.header
    transform.child_frame_id = f"target/{command_id}"
    place, moved = pose.pose.position, transform.transform.translation
    moved.x, moved.y, moved.z = place.x, place.y, place.z
    transform.transform.rotation = pose.pose.orientation
    return message_class("tf2_msgs/msg/TFMessage")(transforms=[transform])
