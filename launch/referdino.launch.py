# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Starts one referdino node; include it several times, in namespaces, for several cameras.

    ros2 launch referdino referdino.launch.py image:=/camera/color/image_raw command:="the red ball"

An argument that is left empty keeps what the parameter files say; any other overrides them.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription

# Launch argument -> the node's parameter that it overrides, and the type of its value.
OVERRIDES = {
    "model": ("model", str),
    "checkpoint": ("checkpoint", str),
    "device": ("device", str),
    "runtime": ("runtime", str),
    "precision": ("precision", str),
    "exports": ("exports", str),
    "command": ("initial_command", str),
    "image_size": ("image_size", str),
    "image_transport": ("image_transport", str),
    "image_qos": ("image_qos", str),
    "autostart": ("autostart", bool),
    "use_sim_time": ("use_sim_time", bool),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start the node with those that were given."""
    parameters_file = Path(get_package_share_directory("referdino"), "config", "referdino.yaml")
    arguments = {
        "image": ("image_raw", "Topic of the camera; its name without /compressed."),
        "namespace": ("", "Namespace of the node, one per camera."),
        "name": ("referdino", "Name of the node."),
        "params_file": (str(parameters_file), "File with the node's parameters."),
        "thresholds_file": ("", "Second such file; its values override the first one's."),
        "log_level": ("info", "debug, info, warn or error."),
        "model": ("", "nano, swint or swinb."),
        "checkpoint": ("", "Path of the weights."),
        "device": ("", "auto, cpu, cuda or cuda:N."),
        "runtime": ("", "auto, torch, onnxruntime or tensorrt."),
        "precision": ("", "fp32, bf16 or fp16."),
        "exports": ("", "Folder that `referdino export` wrote."),
        "command": ("", "A command that runs from the start."),
        "image_size": ("", "Size of the images, such as 640x480, to get ready for at the start."),
        "image_transport": ("", "raw or compressed."),
        "image_qos": ("", "sensor_data, reliable or system_default."),
        "autostart": ("", "Whether the node configures and activates itself."),
        "use_sim_time": ("", "Whether the node takes its time from /clock."),
        "respawn": ("false", "Whether the node is started again when its process ends."),
        "respawn_delay": ("2.0", "Seconds before it is started again."),
    }
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in arguments.items()
    ]
    return LaunchDescription([*declarations, OpaqueFunction(function=start_node)])


def start_node(context: LaunchContext) -> list[LifecycleNode]:
    """The node with the given arguments over the parameter files."""

    def given(argument: str) -> str:
        return LaunchConfiguration(argument).perform(context)

    overrides = {
        parameter: ParameterValue(given(argument), value_type=value_type)
        for argument, (parameter, value_type) in OVERRIDES.items()
        if given(argument)
    }
    files = (given("params_file"), given("thresholds_file"))
    parameters: list[str | dict[str, ParameterValue]] = [file for file in files if file]
    if overrides:
        parameters.append(overrides)
    node = LifecycleNode(
        package="referdino",
        executable="referdino_node",
        name=given("name"),
        namespace=given("namespace"),
        parameters=parameters,
        remappings=[("image_raw", given("image"))],
        ros_arguments=["--log-level", given("log_level")],
        output="screen",
        emulate_tty=True,
        respawn=is_true("respawn", given("respawn")),
        respawn_delay=float(given("respawn_delay")),
    )
    return [node]


def is_true(argument: str, text: str) -> bool:
    """Whether an argument is true.

    Raises:
        ValueError: it is neither true nor false.
    """
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{argument}:={text} must be true or false.")
    return text.lower() == "true"
