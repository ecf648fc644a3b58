# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Parameter files, launch file and layouts name what the nodes have."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from node_in_process import context_of_tests
from rclpy.node import Node
from repository import REPOSITORY

from referdino_ros.following.follower_node import FollowerNode
from referdino_ros.following.simulation_node import declare_parameters
from referdino_ros.following.targets_node import TargetsNode

pytestmark = pytest.mark.ros
yaml = pytest.importorskip("yaml")
CONFIG = REPOSITORY / "config"


def parameters_of(file: str) -> dict[str, dict[str, Any]]:
    """The parameters of a file by node."""
    content = yaml.safe_load((CONFIG / file).read_text())
    return {name.removeprefix("/**/"): one["ros__parameters"] for name, one in content.items()}


@pytest.mark.parametrize("namespace", ["/", "/front"])
@pytest.mark.parametrize("file", ["follow.yaml", "follow_simulation.yaml"])
def test_files_set_parameters_that_the_nodes_take(file: str, namespace: str) -> None:
    given = parameters_of(file)
    path = ["--ros-args", "-r", f"__ns:={namespace}", "--params-file", str(CONFIG / file)]
    with context_of_tests() as context:
        nodes: dict[str, Node] = {
            "follower": FollowerNode(context=context, cli_args=path),
            "targets_3d": TargetsNode(context=context, cli_args=path),
            "simulation": Node("simulation", context=context, cli_args=path),
        }
        declare_parameters(nodes["simulation"])
        for name, values in given.items():
            node = nodes[name]
            for parameter, value in values.items():
                assert node.has_parameter(parameter), f"{name} has no {parameter}"
                assert node.get_parameter(parameter).value == value


def test_the_files_defaults_are_the_nodes() -> None:
    with context_of_tests() as context:
        nodes = {
            "follower": FollowerNode(context=context),
            "targets_3d": TargetsNode(context=context),
        }
        for name, values in parameters_of("follow.yaml").items():
            for parameter, value in values.items():
                expected = pytest.approx(value, rel=1e-3) if type(value) is float else value
                assert nodes[name].get_parameter(parameter).value == expected, parameter


def test_settings_say_their_ranges_and_others_say_none() -> None:
    with context_of_tests() as context:
        node = FollowerNode(context=context)
        assert node.describe_parameter("limits.linear").description == "0.01 to 5, m/s"
        assert node.describe_parameter("stamped").description == ""


def test_layouts_name_topics_of_the_nodes() -> None:
    known = {
        *("/follower/status", "/follower/state", "/follower/instruction", "/referdino/overlay"),
        *("/targets_3d/markers", "/targets_3d/points", "/targets_3d/target_pose", "/odom"),
    }
    layout = json.loads((CONFIG / "follow_foxglove.json").read_text())
    panels = set(layout["configById"])
    assert panels == set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"])))
    named = set(re.findall(r'"(/\w+(?:/\w+)*)', json.dumps(layout)))
    assert named and named <= known
    displays = yaml.safe_load((CONFIG / "follow.rviz").read_text())["Visualization Manager"]
    topics = {f"/{one['Topic']['Value']}" for one in displays["Displays"] if "Topic" in one}
    assert topics and topics <= known


# ---- The launch file; ROS's own `launch` is not to be had here ----


class StandInNode:
    """Keeps what the launch file gives to launch_ros's actions."""

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts the launch file's nodes with arguments, over stand-ins of launch and launch_ros."""

    def argument(name: str, *, default_value: str, description: str) -> Any:
        return types.SimpleNamespace(name=name, default=default_value, description=description)

    def configuration(name: str) -> Any:
        return types.SimpleNamespace(perform=lambda context: context[name])

    modules: dict[str, dict[str, Any]] = {
        "launch": {"LaunchContext": dict, "LaunchDescription": list},
        "launch.actions": {
            "DeclareLaunchArgument": argument,
            "OpaqueFunction": lambda *, function: function,
        },
        "launch.substitutions": {"LaunchConfiguration": configuration},
        "launch_ros": {},
        "launch_ros.actions": {"LifecycleNode": StandInNode, "Node": StandInNode},
        "launch_ros.parameter_descriptions": {"ParameterValue": lambda value, value_type: value},
        "ament_index_python.packages": {"get_package_share_directory": lambda package: "/share"},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    path = REPOSITORY / "launch" / "follow.launch.py"
    spec = importlib.util.spec_from_file_location("follow_launch", path)
    assert spec is not None and spec.loader is not None
    launched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launched)

    def start(**given: str) -> dict[str, Any]:
        *declared, function = launched.generate_launch_description()
        context = {one.name: one.default for one in declared}
        assert set(given) <= set(context) and all(one.description for one in declared)
        return {node.name: node for node in function({**context, **given})}

    return start


def test_launch_file_over_stand_ins_starts_the_nodes_on_the_robots_topics(started: Any) -> None:
    nodes = started(image="/eye/image", depth="/eye/depth", cmd_vel="cmd_vel_follow", model="swinb")
    assert set(nodes) == {"referdino", "targets_3d", "follower"}
    assert ("image_raw", "/eye/image") in nodes["referdino"].remappings
    assert nodes["referdino"].parameters[-1] == {"model": "swinb", "use_sim_time": False}
    assert ("depth", "/eye/depth") in nodes["targets_3d"].remappings
    assert {("cmd_vel", "cmd_vel_follow"), ("command", "referdino/command")} <= set(
        nodes["follower"].remappings
    )
    assert nodes["follower"].parameters == [
        str(Path("/share/config/follow.yaml")),
        {"use_sim_time": False},
    ]


def test_launch_file_over_stand_ins_starts_a_simulated_robot(started: Any) -> None:
    nodes = started(sim="true", voice="true")
    assert nodes["voice"].executable == "voice"
    assert nodes["simulation"].executable == "simulation"
    assert nodes["follower"].parameters[1:] == [
        str(Path("/share/config/follow_simulation.yaml")),
        {"use_sim_time": True},
    ]
    with pytest.raises(ValueError, match="must be true or false"):
        started(sim="maybe")
