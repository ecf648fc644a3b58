# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Values of the node's parameters, checked at every change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from referdino_core.configuration import RENAMED_SETTINGS, SessionSettings
from referdino_core.errors import ReferDINOError
from referdino_ros.camera_topics import CameraTopics, camera_topics
from referdino_ros.parameter_declarations import (
    DECLARATIONS,
    Change,
    Declaration,
    Value,
    read_only_while_configured,
)

_SESSION_FIELDS = frozenset(entry.name for entry in fields(SessionSettings))

BY_NAME: Mapping[str, Declaration] = MappingProxyType({entry.name: entry for entry in DECLARATIONS})


_DOUBLES = frozenset(entry.name for entry in DECLARATIONS if isinstance(entry.default, float))
_LISTS = frozenset(entry.name for entry in DECLARATIONS if isinstance(entry.default, tuple))
_EMPTY_LIST = [""]
"""ROS has no typed empty list."""


class LenientParameterNode(Node):
    """A node whose parameters accept an integer for a double (0 for 0.0) and a text for a list."""

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """As in rclpy, one by one."""
        return super().set_parameters(_with_types(parameter_list))

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """As in rclpy, all or none; the parameter services call this."""
        return super().set_parameters_atomically(_with_types(parameter_list))


class NodeParameters:
    """The parameters of a node, declared on construction and checked at every change.

    Args:
        node: the node that declares them.
        is_unconfigured: whether `Change.UNCONFIGURED` parameters may change in the current state.
        on_session_settings: called with the new settings when one of their fields has changed.

    Raises:
        ReferDINOError: an initial value is not allowed.
    """

    def __init__(
        self,
        node: Node,
        is_unconfigured: Callable[[], bool],
        on_session_settings: Callable[[SessionSettings], None],
    ) -> None:
        self._is_unconfigured = is_unconfigured
        self._on_session_settings = on_session_settings
        self._values: dict[str, Value] = {}
        for entry in DECLARATIONS:
            self._values[entry.name] = _declared(node, entry)
        complaint = _renamed(node) or _first_complaint(self._values)
        if complaint:
            raise ReferDINOError(f"Parameter {complaint}")
        node.add_on_set_parameters_callback(self._on_set)

    def __getitem__(self, name: str) -> Any:
        """Value of a declared parameter."""
        return self._values[name]

    @property
    def model(self) -> str:
        """Path of the checkpoint, or the model's name without one."""
        return str(self._values["checkpoint"] or self._values["model"])

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(width, height) of the camera's images; None if not given."""
        text = str(self._values["image_size"])
        if not text:
            return None
        width, height = text.split("x")
        return int(width), int(height)

    @property
    def cameras(self) -> tuple[CameraTopics, ...]:
        """The cameras that the node serves."""
        return camera_topics(self["cameras"])

    @property
    def session_settings(self) -> SessionSettings:
        """The parameters that are settings of the session."""
        return _session_settings(self._values)

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        """Check a set of changes as a whole, and apply it if it is allowed."""
        known = [parameter for parameter in changes if parameter.name in BY_NAME]
        if not known:
            return SetParametersResult(successful=True)
        refused = self._refused_while_configured(known)
        if refused:
            return SetParametersResult(successful=False, reason=refused)
        values = {**self._values, **{parameter.name: parameter.value for parameter in known}}
        complaint = _first_complaint(values)
        if complaint:
            return SetParametersResult(successful=False, reason=complaint)
        settings_before = self.session_settings
        self._values = values
        if self.session_settings != settings_before:
            self._on_session_settings(self.session_settings)
        return SetParametersResult(successful=True)

    def _refused_while_configured(self, changes: Iterable[Parameter]) -> str | None:
        if self._is_unconfigured():
            return None
        for parameter in changes:
            fixed = BY_NAME[parameter.name].change is Change.UNCONFIGURED
            if fixed and parameter.value != self._values[parameter.name]:
                return read_only_while_configured(parameter.name)
        return None


def _renamed(node: Node) -> str | None:
    """A message on an outdated name that the node was started with, or None."""
    complaint = None
    for old, new in RENAMED_SETTINGS.items():
        if _start_value(node, old) is not None:
            complaint = f"{old} is now called {new}."
    return complaint


def _declared(node: Node, entry: Declaration) -> Value:
    """Declare a parameter; returns its value."""
    given: Any = None
    if entry.name in _DOUBLES | _LISTS:
        given = _start_value(node, entry.name)
    if entry.name in _LISTS:
        value = _as_list(given)
        node.declare_parameter(entry.name, value, entry.descriptor(), ignore_override=True)
    elif type(given) is int:
        node.declare_parameter(entry.name, float(given), entry.descriptor(), ignore_override=True)
    else:
        node.declare_parameter(entry.name, entry.default, entry.descriptor())
    return node.get_parameter(entry.name).value


def _start_value(node: Node, name: str) -> Any:
    """The initial value of a parameter that is not yet declared, or None."""
    value = node.declare_parameter(name, None, ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(name)
    return value


def _with_types(parameters: Iterable[Parameter]) -> list[Parameter]:
    return [_with_type(parameter) for parameter in parameters]


def _with_type(parameter: Parameter) -> Parameter:
    if parameter.name in _DOUBLES and parameter.type_ == Parameter.Type.INTEGER:
        return Parameter(parameter.name, Parameter.Type.DOUBLE, float(parameter.value))
    if parameter.name in _LISTS and not parameter.value:
        return Parameter(parameter.name, Parameter.Type.STRING_ARRAY, _EMPTY_LIST)
    if parameter.name in _LISTS and parameter.type_ == Parameter.Type.STRING:
        return Parameter(parameter.name, Parameter.Type.STRING_ARRAY, [parameter.value])
    return parameter


def _as_list(given: Any) -> Any:
    """The initial value of a list, as ROS stores it; ROS refuses other types."""
    if not given:
        return _EMPTY_LIST
    return [given] if isinstance(given, str) else given


def _session_settings(values: Mapping[str, Value]) -> SessionSettings:
    settings: dict[str, Any] = {name: values[name] for name in _SESSION_FIELDS if name in values}
    return SessionSettings(**settings)


def _first_complaint(values: Mapping[str, Value]) -> str | None:
    for name, value in values.items():
        complaint = BY_NAME[name].complaint(value)
        if complaint:
            return complaint
    try:
        _session_settings(values)
    except ReferDINOError as error:
        return str(error)
    return None
