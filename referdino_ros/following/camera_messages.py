# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of a simulated RGB-D camera and base: depth, calibration, odometry, transforms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import CameraInfo, Image

from referdino_core.following import Intrinsics, Mounting, Odometry
from referdino_core.simulation import encode_depth
from referdino_ros.messages import byte_array


def depth_message(depth: np.ndarray, encoding: str, header: Any) -> Image:
    """A depth image.

    Args:
        depth: (H, W) float32 metres, NaN where invalid.
        encoding: "16UC1" or "32FC1".
    """
    encoded = np.ascontiguousarray(encode_depth(depth, encoding))
    message = Image(header=header, encoding=encoding, step=encoded.strides[0])
    message.height, message.width = encoded.shape
    message.data = byte_array(encoded)
    return message


def camera_info(camera: Intrinsics, header: Any) -> CameraInfo:
    """The calibration of a rectified camera."""
    info = CameraInfo(header=header, width=camera.width, height=camera.height)
    info.distortion_model, info.d = "plumb_bob", [0.0] * 5
    info.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [
        *(camera.fx, 0.0, camera.cx, 0.0),
        *(0.0, camera.fy, camera.cy, 0.0),
        *(0.0, 0.0, 1.0, 0.0),
    ]
    return info


def odometry_message(odometry: Odometry, header: Any, base_frame: str) -> OdometryMessage:
    """Pose and speeds of a base.

    Args:
        header: the stamp and the odometry frame.
    """
    message = OdometryMessage(header=header, child_frame_id=base_frame)
    pose, twist = message.pose.pose, message.twist.twist
    pose.position.x, pose.position.y = odometry.pose.x, odometry.pose.y
    pose.orientation.z = math.sin(odometry.pose.yaw / 2)
    pose.orientation.w = math.cos(odometry.pose.yaw / 2)
    twist.linear.x, twist.angular.z = odometry.linear, odometry.angular
    return message


def base_transform(message: OdometryMessage) -> TransformStamped:
    """The transform that goes with odometry."""
    transform = TransformStamped(header=message.header, child_frame_id=message.child_frame_id)
    pose, moved = message.pose.pose, transform.transform.translation
    moved.x, moved.y = pose.position.x, pose.position.y
    transform.transform.rotation = pose.orientation
    return transform


def mounting_transform(mounting: Mounting, header: Any, camera_frame: str) -> TransformStamped:
    """From the base to the camera's optical frame.

    Args:
        header: a stamp and the base's frame.
    """
    transform = TransformStamped(header=header, child_frame_id=camera_frame)
    moved, turn = transform.transform.translation, transform.transform.rotation
    moved.x, moved.y, moved.z = mounting.x, mounting.y, mounting.z
    turn.w, turn.x, turn.y, turn.z = quaternion_of(mounting.rotation)
    return transform


def quaternion_of(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """Unit quaternion w, x, y, z of a rotation (3, 3), by its largest component."""
    trace = np.array([np.trace(rotation), *np.diag(rotation)])
    largest = int(trace.argmax())
    if largest == 0:
        values = np.array(
            [
                1 + trace[0],
                rotation[2, 1] - rotation[1, 2],
                rotation[0, 2] - rotation[2, 0],
                rotation[1, 0] - rotation[0, 1],
            ]
        )
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        values = np.zeros(4)
        values[0] = rotation[k, j] - rotation[j, k]
        values[1 + i] = 1 + rotation[i, i] - rotation[j, j] - rotation[k, k]
        values[1 + j] = rotation[j, i] + rotation[i, j]
        values[1 + k] = rotation[k, i] + rotation[i, k]
    w, x, y, z = values / np.linalg.norm(values)
    return float(w), float(x), float(y), float(z)
