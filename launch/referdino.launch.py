# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Starts one referdino node, for one camera or, with `cameras`, for several with one model.

    ros2 launch referdino referdino.launch.py image:=/camera/color/image_raw command:="the red ball"
    ros2 launch referdino referdino.launch.py cameras:="front:=/front/image, rear:=/rear/image"

An argument that is left empty keeps what the parameter files say; any other overrides them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from referdino_ros.parameter_declarations import DECLARATIONS

# The node's parameter -> the type of its value; an argument of the same name overrides it.
TYPES: dict[str, type] = {
    **{
        one.name: str if isinstance(one.default, tuple) else type(one.default)
        for one in DECLARATIONS
    },
    "use_sim_time": bool,
}
# Shorter names of arguments -> the parameters that they override.
ALIASES = {"command": "initial_command"}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start the node with those that were given."""
    parameters_file = Path(get_package_share_directory("referdino"), "config", "referdino.yaml")
    arguments = {
        "image": ("image_raw", "Topic of the one camera; its name without /compressed."),
        "command": ("", "A command that runs from the start."),
        "namespace": ("", "Namespace of the node."),
        "name": ("referdino", "Name of the node."),
        "params_file": (str(parameters_file), "File with the node's parameters."),
        "thresholds_file": ("", "Second such file; its values override the first one's."),
        "log_level": ("info", "debug, info, warn or error."),
        "respawn": ("false", "Whether the node is started again when its process ends."),
        "respawn_delay": ("2.0", "Seconds before it is started again."),
        "use_sim_time": ("", "Whether the node takes its time from /clock."),
        **{one.name: ("", f"Parameter: {one.description}") for one in DECLARATIONS},
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

    named = {name: name for name in TYPES} | ALIASES
    overrides = {
        parameter: typed(argument, given(argument), TYPES[parameter])
        for argument, parameter in named.items()
        if given(argument)
    }
    files = (given("params_file"), given("thresholds_file"))
    parameters: list[str | dict[str, Any]] = [file for file in files if file]
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


def typed(argument: str, text: str, value_type: type) -> Any:
    """The value of an argument, for the parameters of a node.

    Raises:
        ValueError: it is of another type.
    """
    if value_type is bool:
        return is_true(argument, text)
    if value_type is str:
        return ParameterValue(text, value_type=str)  # launch_ros would read it as YAML
    try:
        return value_type(text)
    except ValueError:
        kind = {int: "an integer", float: "a number"}[value_type]
        raise ValueError(f"{argument}:={text} must be {kind}.") from None


def is_true(argument: str, text: str) -> bool:
    """Whether an argument is true.

    Raises:
        ValueError: it is neither true nor false.
    """
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{argument}:={text} must be true or false.")
    return text.lower() == "true"
