# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Integers for parameters of type double, earlier names, and QoS by parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from node_in_process import context_of_tests, node_in_process
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.context import Context
from rclpy.exceptions import InvalidParameterValueException
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from ros_harness import Client, NodeProcess, running_node, wait_until

from referdino_core.errors import ReferDINOError
from referdino_ros.parameters import BY_NAME, LenientParameterNode, NodeParameters

pytestmark = pytest.mark.ros

OBJECTS = "qos_overrides./referdino/objects.publisher"
DOUBLES = [name for name, entry in BY_NAME.items() if isinstance(entry.default, float)]


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    with context_of_tests() as made:
        yield made


def node_with(context: Context, *arguments: str) -> tuple[Node, NodeParameters]:
    """A node that was started with these arguments, and its declared parameters."""
    node = LenientParameterNode(
        "typed", context=context, cli_args=["--ros-args", *arguments], use_global_arguments=False
    )
    return node, NodeParameters(node, lambda: True, lambda settings: None)


def parameter_file(folder: Path, **values: Any) -> str:
    path = folder / "parameters.yaml"
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return str(path)


# ---- Integers ----


@pytest.mark.parametrize("name", DOUBLES)
def test_integers_are_doubles_where_the_parameter_is_one(context: Context, name: str) -> None:
    number = 1 if name in ("accept", "take_up_share") else 0

    node, parameters = node_with(context, "-p", f"{name}:={number}")

    for _ in range(2):
        assert (parameters[name], type(parameters[name])) == (number, float)
        assert node.get_parameter(name).type_ == Parameter.Type.DOUBLE
        descriptor = node.describe_parameter(name)
        assert descriptor.type == ParameterType.PARAMETER_DOUBLE
        assert not descriptor.dynamic_typing
        assert descriptor.floating_point_range
        assert node.set_parameters([Parameter(name, value=BY_NAME[name].default)])[0].successful
        assert node.set_parameters([Parameter(name, value=number)])[0].successful


def test_integers_in_a_parameter_file_are_doubles(context: Context, tmp_path: Path) -> None:
    path = parameter_file(tmp_path, accept=1, max_gap=0, window=4)

    _, parameters = node_with(context, "--params-file", path)

    assert (parameters["accept"], parameters["max_gap"], parameters["window"]) == (1.0, 0.0, 4)
    assert type(parameters["accept"]) is type(parameters["max_gap"]) is float
    assert type(parameters["window"]) is int


def test_the_later_of_two_parameter_files_overrides_the_first(
    context: Context, tmp_path: Path
) -> None:
    (tmp_path / "thresholds").mkdir()
    first = parameter_file(tmp_path, accept=0.9, keep=0.1)
    second = parameter_file(tmp_path / "thresholds", accept=0.4)

    _, parameters = node_with(context, "--params-file", first, "--params-file", second)

    assert (parameters["accept"], parameters["keep"]) == (0.4, 0.1)


def test_integers_out_of_range_are_refused(context: Context) -> None:
    with pytest.raises(InvalidParameterValueException, match="accept"):
        node_with(context, "-p", "accept:=2")
    node, parameters = node_with(context)
    result = node.set_parameters([Parameter("accept", value=2)])[0]
    assert not result.successful
    assert "accept out of range" in result.reason
    assert parameters["accept"] == BY_NAME["accept"].default


def test_numbers_of_the_other_kinds_keep_their_types(context: Context) -> None:
    node, parameters = node_with(context)

    for name, value in (("max_commands", 3.0), ("accept", True), ("max_gap", "0")):
        result = node.set_parameters([Parameter(name, value=value)])[0]
        assert "Wrong parameter type" in result.reason
        assert parameters[name] == BY_NAME[name].default


# ---- The node ----


def test_a_node_takes_integers_at_the_start_and_by_both_services() -> None:
    with running_node(name="typed_node", parameters={"autostart": False, "accept": 1}) as process:
        client = Client()
        change = [Parameter("max_gap", value=0), Parameter("keep", value=1)]
        messages = [one.to_parameter_msg() for one in change]
        one_by_one = client.call(
            SetParameters,
            "/typed_node/set_parameters",
            SetParameters.Request(parameters=messages),
        )
        together = client.call(
            SetParametersAtomically,
            "/typed_node/set_parameters_atomically",
            SetParametersAtomically.Request(parameters=messages),
        )
        client.close()

        assert [one.reason for one in one_by_one.results] == ["", ""]  # keep: at most accept
        assert together.result.successful
        assert process.running


@pytest.mark.parametrize(("old", "new"), [("hold_frames", "hold"), ("switch_frames", "switch")])
def test_an_earlier_name_in_a_parameter_file_is_rejected_with_the_new_one(
    context: Context, tmp_path: Path, old: str, new: str
) -> None:
    with pytest.raises(ReferDINOError, match=rf"Parameter {old} is now called {new}"):
        node_with(context, "--params-file", parameter_file(tmp_path, **{old: 12}))


def test_a_node_that_is_started_with_an_earlier_name_ends_with_one_line() -> None:
    process = NodeProcess(name="renamed_node", parameters={"hold_frames": 12})

    assert process.wait() == 1

    lines = [line for line in process.log if line]
    assert len(lines) == 1
    assert "hold_frames is now called hold" in lines[0]


# ---- Quality of service of the results ----


def test_parameters_override_the_quality_of_service_of_results() -> None:
    overrides = {
        f"{OBJECTS}.reliability": "best_effort",
        f"{OBJECTS}.depth": 3,
        "qos_overrides./referdino/mask.publisher.durability": "transient_local",
    }
    with node_in_process(**overrides) as node:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        for topic in ("/referdino/objects", "/referdino/mask"):
            wait_until(lambda topic=topic: node.count_publishers(topic), topic)
        [objects] = node.get_publishers_info_by_topic("/referdino/objects")
        [mask] = node.get_publishers_info_by_topic("/referdino/mask")
        assert objects.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        assert objects.qos_profile.durability == DurabilityPolicy.VOLATILE
        assert mask.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert mask.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        assert node.get_parameter(f"{OBJECTS}.depth").value == 3
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        [objects] = node.get_publishers_info_by_topic("/referdino/objects")
        assert objects.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ("policy", "value"), [("reliability", "sometimes"), ("depth", "ten"), ("depth", -1)]
)
def test_a_quality_of_service_that_is_none_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], policy: str, value: Any
) -> None:
    with node_in_process(**{f"{OBJECTS}.{policy}": value}) as node:
        before = len(list(node.publishers))
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert len(list(node.publishers)) == before

    [line] = [line for line in capfd.readouterr().err.splitlines() if "[ERROR]" in line]
    assert "~/objects cannot be published" in line
    assert "qos_overrides" in line
    assert "restart the node" in line


# ---- Lists ----


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("[]", [""]),
        ("['']", [""]),
        ("front", ["front"]),
        ("'front:=/a/b, rear'", ["front", "rear"]),
        ("[front, 'rear:=/a/b']", ["front", "rear"]),
    ],
)
def test_cameras_are_written_as_a_list_or_as_a_text(
    context: Context, written: str, names: list[str]
) -> None:
    node, parameters = node_with(context, "-p", f"cameras:={written}")
    assert [camera.name for camera in parameters.cameras] == names
    for value in ([], ["top"], "top, side"):
        (result,) = node.set_parameters([Parameter("cameras", value=value)])
        assert result.successful, result.reason
    assert [camera.name for camera in parameters.cameras] == ["top", "side"]
    node.destroy_node()


def test_an_empty_list_of_cameras_in_a_file_is_one_camera(context: Context, tmp_path: Path) -> None:
    node, parameters = node_with(context, "--params-file", parameter_file(tmp_path, cameras=[]))
    assert [camera.namespace for camera in parameters.cameras] == ["~"]
    node.destroy_node()
