# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Starts what a robot needs to follow what a sentence says; with `sim:=true` the robot as well.

    ros2 launch referdino follow.launch.py sim:=true
    ros2 topic pub --once /follower/instruction std_msgs/msg/String "{data: 'go to the blue box'}"

On a robot, name its topics:

    camera=/camera/camera
    ros2 launch referdino follow.launch.py image:=$camera/color/image_raw
        depth:=$camera/aligned_depth_to_color/image_raw camera_info:=$camera/color/camera_info
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "sim": ("false", "Whether a simulated robot is started, in the world of the model nano."),
    "voice": ("false", "Whether the node voice listens, to the microphone by default."),
    "image": ("camera/color/image_raw", "Topic of the colour images."),
    "depth": ("camera/depth/image_raw", "Topic of the depth images, aligned to the colour images."),
    "camera_info": ("camera/color/camera_info", "Topic of the colour camera's calibration."),
    "odom": ("odom", "Topic of the odometry."),
    "cmd_vel": ("cmd_vel", "Topic of the velocities for the base."),
    "model": ("", "Model of the node referdino, such as nano or swinb; empty: as in params_file."),
    "checkpoint": ("", "Path of a checkpoint; empty: as in params_file."),
    "device": ("", "Device of the network, such as cpu or cuda; empty: as in params_file."),
    "runtime": ("", "What computes the network; empty: as in params_file."),
    "params_file": ("", "Parameters of the node referdino; empty: config/referdino.yaml."),
    "follow_file": ("", "Parameters of targets_3d and follower; empty: config/follow.yaml."),
    "voice_file": ("", "Parameters of the node voice; empty: its defaults."),
    "simulation_file": ("", "What differs with sim; empty: config/follow_simulation.yaml."),
    "namespace": ("", "Namespace of all nodes."),
    "use_sim_time": ("", "Whether time comes from /clock; empty: as sim."),
    "log_level": ("info", "debug, info, warn or error."),
}
# Arguments that are parameters of the node referdino.
OF_THE_MODEL = ("model", "checkpoint", "device", "runtime")


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start the nodes."""
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declarations, OpaqueFunction(function=start_nodes)])


def start_nodes(context: LaunchContext) -> list[Node]:
    """The nodes with the given arguments."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    config = Path(get_package_share_directory("referdino"), "config")
    simulated = is_true("sim", given["sim"])
    follow = [given["follow_file"] or str(config / "follow.yaml")]
    if simulated:
        follow.append(given["simulation_file"] or str(config / "follow_simulation.yaml"))
    timed = {"use_sim_time": is_true("use_sim_time", given["use_sim_time"] or given["sim"])}
    nodes = [
        eyes(given, given["params_file"] or str(config / "referdino.yaml"), timed),
        Node(
            executable="targets_3d",
            name="targets_3d",
            parameters=[*follow, timed],
            remappings=[
                ("objects", "referdino/objects"),
                *((name, given[name]) for name in ("depth", "camera_info", "odom")),
            ],
            **shared(given),
        ),
        LifecycleNode(
            executable="follower",
            name="follower",
            parameters=[*follow, timed],
            remappings=[
                ("targets", "targets_3d/targets"),
                ("command", "referdino/command"),
                *((name, given[name]) for name in ("odom", "cmd_vel")),
            ],
            **shared(given),
        ),
    ]
    if is_true("voice", given["voice"]):
        nodes.append(ears(given, timed))
    if simulated:
        nodes.append(robot(given, follow))
    return nodes


def shared(given: dict[str, str]) -> dict[str, Any]:
    """What all nodes have in common."""
    return {
        "package": "referdino",
        "namespace": given["namespace"],
        "ros_arguments": ["--log-level", given["log_level"]],
        "output": "screen",
        "emulate_tty": True,
    }


def eyes(given: dict[str, str], file: str, timed: dict[str, bool]) -> LifecycleNode:
    """The node referdino."""
    overrides = {
        name: ParameterValue(given[name], value_type=str) for name in OF_THE_MODEL if given[name]
    }
    return LifecycleNode(
        executable="referdino_node",
        name="referdino",
        parameters=[file, overrides | timed],
        remappings=[("image_raw", given["image"])],
        **shared(given),
    )


def ears(given: dict[str, str], timed: dict[str, bool]) -> LifecycleNode:
    """The node voice."""
    files = [given["voice_file"]] if given["voice_file"] else []
    return LifecycleNode(
        executable="voice", name="voice", parameters=[*files, timed], **shared(given)
    )


def robot(given: dict[str, str], files: list[str]) -> Node:
    """The simulated robot."""
    return Node(
        executable="simulation",
        name="simulation",
        parameters=files,
        remappings=[
            ("targets", "targets_3d/targets"),
            ("camera/color/image_raw", given["image"]),
            ("camera/depth/image_raw", given["depth"]),
            ("camera/color/camera_info", given["camera_info"]),
            *((name, given[name]) for name in ("odom", "cmd_vel")),
        ],
        **shared(given),
    )


def is_true(argument: str, text: str) -> bool:
    """Whether an argument is true.

    Raises:
        ValueError: it is neither true nor false.
    """
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{argument}:={text} must be true or false.")
    return text.lower() == "true"
