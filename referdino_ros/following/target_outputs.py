# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Publishers of `targets_3d`; they do nothing without subscribers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from referdino.msg import LocatedTarget, LocatedTargetArray
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from referdino_core.following import Measured
from referdino_core.target import TargetState
from referdino_ros.following import markers
from referdino_ros.following.conversions import fill_located, seconds_of
from referdino_ros.following.joining import Joiner, Located
from referdino_ros.following.point_clouds import point_cloud
from referdino_ros.messages import message_class


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
        self._markers = _optional(node, markers.ARRAY, "~/markers")
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
            self._markers.publish(markers.marker_array(located, header))

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
        array.judgement = message.judgement
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
