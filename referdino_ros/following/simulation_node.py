# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node `simulation`: a robot with an RGB-D camera in the world of `nano`, as ROS sees a robot.

Publishes /clock, `odom`, `camera/color/image_raw`, `camera/color/camera_info` and
`camera/depth/image_raw` with equal stamps, and TF where tf2_msgs is installed; the ground truth is
on `~/truth` and `~/labels`. Takes `cmd_vel`, which runs out after half a second.
"""

from __future__ import annotations

import json
import time
from typing import Any

import rclpy
import rclpy.exceptions
import rclpy.logging
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from referdino.msg import LocatedTargetArray
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from referdino_core.errors import ReferDINOError, one_line
from referdino_core.following import Mounting, Pose, Velocity
from referdino_core.simulation import (
    DISTANCES,
    DriveSettings,
    Frame,
    Room,
    Simulation,
    episode_generator,
    open_eye,
    sample_episode,
)
from referdino_ros.following import camera_messages
from referdino_ros.following.conversions import seconds_of, time_fields
from referdino_ros.following.following_parameters import SettingsParameters
from referdino_ros.messages import image_message, message_class
from referdino_ros.process import run_node

_TICK = 0.02
_LONGEST_WAIT = 0.25
"""Seconds for which time stands at most: robots take a clock that stands for a fault."""
_SILENCE = 3.0
"""Seconds without a result after which nobody is waited for."""
_DEPTH_ENCODINGS = ("16UC1", "32FC1")
_OTHERS: dict[str, bool | int | float | str] = {
    "split": "static",
    "index": 0,
    "width": 160,
    "height": 120,
    "frame_rate": 10.0,
    "depth_encoding": "16UC1",
    "stamped": False,
    "speed": 1.0,
    "result_age": 0.0,
    "camera_x": 0.1,
    "camera_z": 1.0,
    "camera_pitch": 0.33,
    "odom_frame": "odom",
    "base_frame": "base_link",
    "camera_frame": "camera_color_optical_frame",
}


def declare_parameters(node: Node) -> SettingsParameters:
    """The parameters of a simulation, declared on a node.

    Raises:
        ReferDINOError: an initial value is not allowed.
    """
    return SettingsParameters(node, {"drive": DriveSettings}, _OTHERS)


class SimulationNode(Node):
    """A simulated robot in one episode; it renders in the thread that made it.

    Another `split` or `index` puts the robot into another episode, while time and odometry go on.
    With `result_age` above 0, time waits for results on `targets` that are older, so that a slow
    computer sees what a fast one sees.

    Raises:
        ReferDINOError: a parameter has an invalid value, or MuJoCo or OpenGL is missing.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("simulation", **node_options)
        self._values = values = declare_parameters(self)
        if values["depth_encoding"] not in _DEPTH_ENCODINGS:
            raise ReferDINOError(
                f"depth_encoding is {values['depth_encoding']!r}; choose one of "
                f"{', '.join(_DEPTH_ENCODINGS)}."
            )
        self.mounting = Mounting(
            x=values["camera_x"], z=values["camera_z"], pitch=values["camera_pitch"]
        )
        self._drive = values.settings("drive")
        self._room = Room(values["width"], values["height"], self._drive.radius)
        self._eye = open_eye(self._room, values["width"], values["height"])
        self._loaded = (values["split"], values["index"])
        self.simulation = self._begin(1.0, Pose())
        self._next_image = self.simulation.now
        self._answered, self._heard = self.simulation.now, -_SILENCE
        self._moved_on = time.monotonic()
        self._open_topics()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_TICK / values["speed"], self._advance, clock=self._steady)

    def _begin(self, stamp: float, odometry: Pose) -> Simulation:
        split, index = self._loaded
        episode = sample_episode(split, episode_generator(split, index), index, DISTANCES)
        return Simulation(
            self._room, self._eye, episode, self.mounting, self._drive, index, stamp, odometry
        )

    def _open_topics(self) -> None:
        self._clock_topic = self.create_publisher(ClockMessage, "/clock", 10)
        self._odom = self.create_publisher(Odometry, "odom", 50)
        self._colour = self.create_publisher(Image, "camera/color/image_raw", 5)
        self._depth = self.create_publisher(Image, "camera/depth/image_raw", 5)
        self._info = self.create_publisher(CameraInfo, "camera/color/camera_info", 5)
        self._truth = self.create_publisher(String, "~/truth", 10)
        self._labels = self.create_publisher(Image, "~/labels", 10)
        kind = TwistStamped if self._values["stamped"] else Twist
        self.create_subscription(kind, "cmd_vel", self._take_velocity, 1)
        self.create_subscription(LocatedTargetArray, "targets", self._take_result, 10)
        self._frames: Any = None
        try:
            self._transforms = message_class("tf2_msgs/msg/TFMessage")
        except ImportError:
            return
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._frames = self.create_publisher(self._transforms, "/tf", 50)
        self._static_frames = self.create_publisher(self._transforms, "/tf_static", latched)
        mounted = camera_messages.mounting_transform(
            self.mounting, self._header("base_frame"), self._values["camera_frame"]
        )
        self._static_frames.publish(self._transforms(transforms=[mounted]))

    def _header(self, frame: str) -> Header:
        """A header with the present stamp and the frame that a parameter names."""
        stamp = Time(**time_fields(self.simulation.now))
        return Header(stamp=stamp, frame_id=self._values[frame])

    def _take_velocity(self, message: Any) -> None:
        twist = message.twist if self._values["stamped"] else message
        self.simulation.command(Velocity(twist.linear.x, twist.angular.z))

    def _take_result(self, message: LocatedTargetArray) -> None:
        self._answered = max(self._answered, seconds_of(message.header.stamp))
        self._heard = time.monotonic()

    def _must_wait(self) -> bool:
        """Whether an image waits for its result for too long already."""
        steady, most = time.monotonic(), self._values["result_age"]
        if most <= 0 or steady - self._heard > _SILENCE:
            return False
        late = self.simulation.now - self._answered > most + 1 / self._values["frame_rate"]
        return bool(late and steady - self._moved_on < _LONGEST_WAIT)

    def _advance(self) -> None:
        if self._must_wait():
            return
        self._moved_on = time.monotonic()
        self._change_episode()
        self.simulation.advance(_TICK)
        self._clock_topic.publish(ClockMessage(clock=Time(**time_fields(self.simulation.now))))
        self._publish_odometry()
        if self.simulation.now >= self._next_image - 1e-9:
            self._next_image += 1.0 / self._values["frame_rate"]
            self._publish_frame(self.simulation.frame())

    def _change_episode(self) -> None:
        wanted, before = (self._values["split"], self._values["index"]), self._loaded
        if wanted == before:
            return
        now, odometry = self.simulation.now, self.simulation.odometry.pose
        self._loaded = wanted
        try:
            self.simulation = self._begin(now, odometry)
        except ReferDINOError as error:
            self._loaded = before
            self.get_logger().error(f"The episode stays what it is: {one_line(error)}")
            self.set_parameters(
                [
                    rclpy.Parameter("split", value=before[0]),
                    rclpy.Parameter("index", value=before[1]),
                ]
            )

    def _publish_odometry(self) -> None:
        message = camera_messages.odometry_message(
            self.simulation.odometry, self._header("odom_frame"), self._values["base_frame"]
        )
        self._odom.publish(message)
        if self._frames is not None:
            moved = camera_messages.base_transform(message)
            self._frames.publish(self._transforms(transforms=[moved]))

    def _publish_frame(self, frame: Frame) -> None:
        header = self._header("camera_frame")
        encoding = self._values["depth_encoding"]
        self._colour.publish(image_message(frame.colour, header))
        self._depth.publish(camera_messages.depth_message(frame.depth, encoding, header))
        self._info.publish(camera_messages.camera_info(self.simulation.intrinsics, header))
        self._truth.publish(String(data=json.dumps(self._ground_truth())))
        if self._labels.get_subscription_count():
            self._labels.publish(image_message(frame.labels, header))

    def _ground_truth(self) -> dict[str, Any]:
        """Where everything truly is: for people and tests, not for the robot."""
        simulation = self.simulation
        pose, episode = simulation.drive.pose, simulation.episode
        bodies = [
            {
                "look": f"{body.look.size} {body.look.colour} {body.look.shape}",
                "distance": round(simulation.truth(slot).distance, 3),
                "bearing": round(simulation.truth(slot).bearing, 3),
            }
            for slot, body in enumerate(episode.bodies)
        ]
        return {
            "stamp": round(simulation.now, 3),
            "time": round(simulation.elapsed, 3),
            "split": episode.split,
            "index": episode.index,
            "robot": [round(pose.x, 3), round(pose.y, 3), round(pose.yaw, 3)],
            "speed": round(simulation.drive.velocity.linear, 3),
            "turn": round(simulation.drive.velocity.angular, 3),
            "way": round(simulation.drive.way, 3),
            "target": episode.target,
            "collisions": simulation.collisions,
            "bodies": bodies,
        }

    def close(self) -> None:
        """Free the renderer."""
        self._eye.close()


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT, SIGTERM or a ROS shutdown; returns the exit status."""
    return run_node(
        "simulation", SimulationNode, args, close=SimulationNode.close, executor_of=one_thread
    )


def one_thread(node: SimulationNode) -> SingleThreadedExecutor:
    """An executor that runs the callbacks in the thread that the OpenGL context belongs to."""
    return SingleThreadedExecutor(context=node.context)


if __name__ == "__main__":
    raise SystemExit(main())
