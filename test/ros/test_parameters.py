# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Declarations, the parameters file and the launch file agree with each other."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from repository import REPOSITORY
from ros_harness import domain_id

from referdino_core.configuration import MAX_COMMANDS, SessionSettings
from referdino_core.errors import ReferDINOError
from referdino_ros.parameter_declarations import DECLARATIONS, Change, Declaration
from referdino_ros.parameter_file import parameter_file, parameter_table
from referdino_ros.parameters import BY_NAME, NodeParameters

pytestmark = pytest.mark.ros

PARAMETERS_FILE = REPOSITORY / "config" / "referdino.yaml"
LAUNCH_FILE = REPOSITORY / "launch" / "referdino.launch.py"

# ---- The parameters file ----


def test_the_parameters_files_are_written_from_the_declarations() -> None:
    assert PARAMETERS_FILE.read_text() == parameter_file(), (
        "run python -m referdino_ros.parameter_file"
    )
    table = REPOSITORY / "docs" / "parameters.md"
    assert table.read_text() == parameter_table(), "run python -m referdino_ros.parameter_file"


def plain_default(entry: Declaration) -> Any:
    """The default as YAML has it."""
    return list(entry.default) if isinstance(entry.default, tuple) else entry.default


def ros_default(entry: Declaration) -> Any:
    """The default as ROS stores it, which knows no empty list of texts."""
    return [""] if entry.default == () else entry.default


def test_parameters_file_holds_every_parameter_with_its_default() -> None:
    content = yaml.safe_load(PARAMETERS_FILE.read_text())

    assert list(content) == ["/**"]
    written = content["/**"]["ros__parameters"]
    assert written == {entry.name: plain_default(entry) for entry in DECLARATIONS}
    assert {name: type(value) for name, value in written.items()} == {
        entry.name: type(plain_default(entry)) for entry in DECLARATIONS
    }


def test_parameters_file_explains_every_parameter_and_says_when_it_may_change() -> None:
    labels = {
        Change.ANY_TIME: "[any time]",
        Change.UNCONFIGURED: "[unconfigured]",
        Change.NEVER: "[start]",
    }
    blocks = re.split(r"\n\s*\n", PARAMETERS_FILE.read_text())
    for entry in DECLARATIONS:
        block = next(block for block in blocks if re.search(rf"^ +{entry.name}:", block, re.M))
        comment = " ".join(line.strip() for line in block.splitlines() if line.strip()[0] == "#")
        assert comment.endswith(labels[entry.change]), f"{entry.name}: {comment}"


def test_session_settings_are_all_parameters() -> None:
    for field in dataclasses.fields(SessionSettings):
        assert BY_NAME[field.name].default == field.default


def test_as_many_commands_may_be_allowed_as_a_session_takes() -> None:
    assert BY_NAME["max_commands"].range == (1, MAX_COMMANDS)


# ---- Declarations on a node ----


class Harness:
    """A bare node with the declarations, and a lifecycle that the test sets."""

    def __init__(self, context: Context, **overrides: Any) -> None:
        self.node = Node(
            "parameters",
            context=context,
            parameter_overrides=[Parameter(name, value=value) for name, value in overrides.items()],
        )
        self.unconfigured = True
        self.applied: list[SessionSettings] = []
        self.parameters = NodeParameters(self.node, lambda: self.unconfigured, self.applied.append)

    def set(self, **changes: Any) -> str:
        """Set all at once; why that was refused, or an empty text."""
        result = self.node.set_parameters_atomically(
            [Parameter(name, value=value) for name, value in changes.items()]
        )
        assert result.successful == (not result.reason)
        return result.reason


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, domain_id=domain_id())
    yield context
    context.try_shutdown()


def test_every_parameter_is_described_with_type_and_range(context: Context) -> None:
    harness = Harness(context)
    for entry in DECLARATIONS:
        descriptor = harness.node.describe_parameter(entry.name)
        assert len(descriptor.description) > 15
        assert descriptor.read_only == (entry.change is Change.NEVER)
        assert bool(descriptor.additional_constraints) == bool(entry.choices)
        if entry.range is not None:
            ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
            assert [(one.from_value, one.to_value) for one in ranges] == [entry.range]
            assert entry.range[0] <= entry.default <= entry.range[1]  # type: ignore[operator]
        assert harness.parameters[entry.name] == ros_default(entry)


def test_thresholds_change_while_the_node_runs(context: Context) -> None:
    harness = Harness(context)
    harness.unconfigured = False

    assert harness.set(accept=0.8, keep=0.6) == ""
    assert harness.set(max_commands=3) == ""

    assert harness.applied == [dataclasses.replace(SessionSettings(), accept=0.8, keep=0.6)]
    assert harness.parameters.session_settings == harness.applied[0]
    assert harness.parameters["max_commands"] == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accept": 1.5}, "out of range"),
        ({"hold": -1.0}, "out of range"),
        ({"accept": "high"}, "Wrong parameter type"),
        ({"image_qos": "best"}, "must be one of sensor_data, reliable, system_default"),
        ({"keep": 0.9}, "keep (0.9) must not exceed accept"),
        ({"autostart": False}, "read-only parameter: autostart"),
    ],
)
def test_values_that_are_not_allowed_are_refused_and_change_nothing(
    context: Context, changes: dict[str, Any], said: str
) -> None:
    harness = Harness(context)

    assert said in harness.set(**changes)

    for name in changes:
        assert harness.parameters[name] == BY_NAME[name].default
        assert harness.node.get_parameter(name).value == BY_NAME[name].default
    assert harness.applied == []


def test_one_refused_value_refuses_the_whole_set(context: Context) -> None:
    harness = Harness(context)

    assert harness.set(max_commands=2, image_qos="best") != ""

    assert harness.parameters["max_commands"] == BY_NAME["max_commands"].default


@pytest.mark.parametrize(
    "name", [entry.name for entry in DECLARATIONS if entry.change is Change.UNCONFIGURED]
)
def test_what_configuring_reads_is_read_only_until_the_node_is_unconfigured(
    context: Context, name: str
) -> None:
    entry = BY_NAME[name]
    others = {"window": 4, "image_size": "640x480", "cameras": ["front", "rear"]}
    other = entry.choices[-1] if entry.choices else others.get(name, "other")
    assert other != entry.default
    harness = Harness(context)
    harness.unconfigured = False

    reason = harness.set(**{name: other})

    assert f"{name} is read-only while the node is configured" in reason
    assert "clean up" in reason
    assert harness.set(**{name: ros_default(entry)}) == ""
    harness.unconfigured = True
    assert harness.set(**{name: other}) == ""
    assert harness.parameters[name] == other


@pytest.mark.parametrize(
    ("overrides", "error"),
    [
        ({"image_transport": "theora"}, ReferDINOError),
        ({"image_size": "640"}, ReferDINOError),
        ({"runtime": "abacus"}, ReferDINOError),
        ({"keep": 0.9}, ReferDINOError),
        ({"accept": 2.0}, InvalidParameterValueException),
        ({"window": "long"}, InvalidParameterTypeException),
    ],
)
def test_a_node_does_not_start_with_values_that_are_not_allowed(
    context: Context, overrides: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        Harness(context, **overrides)

    assert next(iter(overrides)) in str(caught.value)


# ---- The launch file; ROS's own `launch` is not available here ----


class StandInNode:
    """Keeps what the launch file gives to launch_ros's LifecycleNode."""

    def __init__(
        self,
        *,
        package: str,
        executable: str,
        name: str,
        namespace: str,
        parameters: list[Any],
        remappings: list[tuple[str, str]],
        ros_arguments: list[str],
        output: str,
        emulate_tty: bool,
        respawn: bool,
        respawn_delay: float,
    ) -> None:
        self.package, self.executable = package, executable
        self.name, self.namespace = name, namespace
        self.parameters, self.remappings = parameters, remappings
        self.ros_arguments = ros_arguments
        self.respawn, self.respawn_delay = respawn, respawn_delay


class StandInLaunch:
    """The launch file over recording stand-ins of launch and launch_ros."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: Path) -> None:
        def configuration(name: str) -> Any:
            return types.SimpleNamespace(perform=lambda context: context[name])

        def argument(name: str, *, default_value: str, description: str) -> Any:
            return types.SimpleNamespace(
                name=name, default_value=default_value, description=description
            )

        def parameter_value(value: str, *, value_type: type) -> str:
            assert value_type is str, "launch_ros takes no text for values of other types"
            return value

        modules: dict[str, dict[str, Any]] = {
            "launch": {"LaunchContext": dict, "LaunchDescription": list},
            "launch.actions": {
                "DeclareLaunchArgument": argument,
                "OpaqueFunction": lambda *, function: function,
            },
            "launch.substitutions": {"LaunchConfiguration": configuration},
            "launch_ros": {},
            "launch_ros.actions": {"LifecycleNode": StandInNode},
            "launch_ros.parameter_descriptions": {"ParameterValue": parameter_value},
            "ament_index_python.packages": {
                "get_package_share_directory": lambda package: str(share / package)
            },
        }
        for name, content in modules.items():
            module = types.ModuleType(name)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)
        spec = importlib.util.spec_from_file_location("referdino_launch", LAUNCH_FILE)
        assert spec is not None
        assert spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        *self.arguments, self.start = self.module.generate_launch_description()

    def start_with(self, **given: str) -> StandInNode:
        context = {argument.name: argument.default_value for argument in self.arguments}
        assert set(given) <= set(context)
        nodes = self.start({**context, **given})
        assert len(nodes) == 1
        return nodes[0]


@pytest.fixture
def stand_in_launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandInLaunch:
    return StandInLaunch(monkeypatch, tmp_path)


def test_launch_file_over_stand_ins_leaves_the_parameters_file_alone_by_default(
    stand_in_launch: StandInLaunch, tmp_path: Path
) -> None:
    node = stand_in_launch.start_with()

    assert (node.package, node.executable) == ("referdino", "referdino_node")
    assert (node.name, node.namespace) == ("referdino", "")
    assert node.parameters == [str(tmp_path / "referdino" / "config" / "referdino.yaml")]
    assert node.remappings == [("image_raw", "image_raw")]
    assert node.respawn is False
    assert all(argument.description for argument in stand_in_launch.arguments)


def test_launch_file_over_stand_ins_passes_on_what_is_given(stand_in_launch: StandInLaunch) -> None:
    node = stand_in_launch.start_with(
        image="/camera/color/image_raw",
        namespace="front",
        params_file="/my/parameters.yaml",
        model="swinb",
        checkpoint="/weights/ryt_swinb.pth",
        command="the red ball",
        cameras="front:=/front/image, rear",
        autostart="false",
    )

    assert node.namespace == "front"
    assert node.remappings == [("image_raw", "/camera/color/image_raw")]
    file, overrides = node.parameters
    assert file == "/my/parameters.yaml"
    assert overrides == {
        "model": "swinb",
        "checkpoint": "/weights/ryt_swinb.pth",
        "initial_command": "the red ball",
        "cameras": "front:=/front/image, rear",
        "autostart": False,
    }


def test_launch_file_over_stand_ins_layers_files_and_arguments(
    stand_in_launch: StandInLaunch,
) -> None:
    node = stand_in_launch.start_with(
        params_file="/my/parameters.yaml",
        thresholds_file="/my/thresholds.yaml",
        exports="/engines/nano",
    )

    assert node.parameters == [
        "/my/parameters.yaml",
        "/my/thresholds.yaml",
        {"exports": "/engines/nano"},
    ]


def test_launch_file_over_stand_ins_starts_the_node_again_where_that_is_wanted(
    stand_in_launch: StandInLaunch,
) -> None:
    node = stand_in_launch.start_with(respawn="True", respawn_delay="5")

    assert (node.respawn, node.respawn_delay) == (True, 5.0)
    with pytest.raises(ValueError, match="respawn:=often must be true or false"):
        stand_in_launch.start_with(respawn="often")


def test_launch_file_over_stand_ins_takes_every_parameter(stand_in_launch: StandInLaunch) -> None:
    for entry in DECLARATIONS:
        default = entry.default
        text = "front, rear" if isinstance(default, tuple) else str(default).lower() or "other"

        (_, overrides) = stand_in_launch.start_with(**{entry.name: text}).parameters

        expected = text if isinstance(default, tuple) else default or type(default)(text)
        assert overrides == {entry.name: expected}
        assert type(overrides[entry.name]) is type(expected)


@pytest.mark.parametrize(
    ("argument", "text", "complaint"),
    [
        ("accept", "much", "accept:=much must be a number"),
        ("max_commands", "2.5", "max_commands:=2.5 must be an integer"),
        ("autostart", "maybe", "autostart:=maybe must be true or false"),
    ],
)
def test_launch_file_over_stand_ins_says_which_value_is_of_another_type(
    stand_in_launch: StandInLaunch, argument: str, text: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        stand_in_launch.start_with(**{argument: text})
