# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node `targets_3d`: referred objects, depth and odometry in, places of the objects out."""

from __future__ import annotations

import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from referdino.msg import ReferredObjectArray
from sensor_msgs.msg import CameraInfo, Image

from referdino_core.following import DepthBufferSettings, MeasurementSettings, Mounting
from referdino_core.following.clearance import CorridorSettings
from referdino_ros.error_log import ErrorLog
from referdino_ros.following.camera_mounting import open_mounting
from referdino_ros.following.following_parameters import FixedParameters
from referdino_ros.following.joining import Joiner, JoinSettings, Located
from referdino_ros.following.target_outputs import TargetOutputs
from referdino_ros.process import run_node

_GROUPS = {
    "sync": DepthBufferSettings,
    "measurement": MeasurementSettings,
    "corridor": CorridorSettings,
}
_OTHERS: dict[str, bool | int | float | str] = {
    "odom_frame": "odom",
    "base_frame": "base_link",
    "command_id": "",
    "mounting": "auto",
    "camera_x": 0.1,
    "camera_y": 0.0,
    "camera_z": 0.5,
    "camera_yaw": 0.0,
    "camera_pitch": 0.0,
    "wait": 0.3,
}
_RETRY_PERIOD = 0.02
_SILENCE, _LOADING = 3.0, 30.0
"""Seconds without a result that are told of: later, and at first, while a model is loaded."""


class TargetsNode(Node):
    """Publishes where the objects are that the node `referdino` finds.

    Subscribes to `objects`, `depth`, `camera_info` and `odom`; parameters are read at the start.

    Raises:
        ReferDINOError: a parameter has an invalid value.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("targets_3d", **node_options)
        values = FixedParameters(self, _GROUPS, _OTHERS)
        mounting = Mounting(*(values[f"camera_{name}"] for name in ("x", "y", "z", "yaw", "pitch")))
        settings = JoinSettings(
            values.settings("sync"),
            values.settings("measurement"),
            values.settings("corridor"),
            values["wait"],
        )
        source = open_mounting(self, values["mounting"], values["base_frame"], mounting)
        self._joiner = Joiner(settings, source, self._publish)
        self._outputs = TargetOutputs(self, values["odom_frame"], values["command_id"])
        self._errors = ErrorLog(lambda line: self.get_logger().warning(line), lambda: 10.0)
        self._results = 0
        self._positions = 0
        self._seen_at = time.monotonic()
        sensor = qos_profile_sensor_data
        results = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        odometry = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(Image, "depth", self._joiner.take_depth, sensor)
        self.create_subscription(CameraInfo, "camera_info", self._joiner.take_camera_info, sensor)
        self.create_subscription(Odometry, "odom", self._joiner.take_odometry, odometry)
        self.create_subscription(ReferredObjectArray, "objects", self._take_result, results)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(
            _RETRY_PERIOD, lambda: self._joiner.work_off(time.monotonic()), clock=steady
        )
        self.create_timer(1.0, self._every_second, clock=steady)

    def _take_result(self, message: ReferredObjectArray) -> None:
        self._joiner.take_result(message, time.monotonic())

    def _publish(self, message: ReferredObjectArray, located: list[Located]) -> None:
        self._results += 1
        self._positions += any(one.measurement.centre is not None for one in located)
        self._seen_at = time.monotonic()
        self._outputs.publish(message, located, self._joiner)

    def _every_second(self) -> None:
        problem = self._problem()
        if problem:
            self._errors.report("joining", problem)
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
            name=f"{self.get_fully_qualified_name()}: places of objects",
            hardware_id="",
            message=problem or "All is well.",
            values=[
                KeyValue(key="results", value=str(self._results)),
                KeyValue(key="with a position", value=str(self._positions)),
            ],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _problem(self) -> str:
        told = next((text for text in self._joiner.complaints.values() if text), "")
        silence = time.monotonic() - self._seen_at
        if silence > (_SILENCE if self._results else _LOADING):
            topic = self.resolve_topic_name("objects")
            told = f"No result comes on {topic}."
        return told


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or a ROS shutdown; returns the exit status."""
    return run_node("targets_3d", TargetsNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
