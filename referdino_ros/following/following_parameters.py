# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the nodes for following, with the ranges of the settings that they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from referdino_core.errors import ReferDINOError
from referdino_core.following import FollowerSettings, Goal, OnSwitch
from referdino_core.following.kalman import FilterSettings
from referdino_core.following.motion import ControlSettings, MotionLimits
from referdino_core.following.phrases import Grammar
from referdino_core.following.ranges import Quantity, quantities
from referdino_core.following.searching import SearchSettings
from referdino_core.following.sight import SightSettings
from referdino_ros.following.goals import grammar_of
from referdino_ros.following.velocity_output import STAMPED
from referdino_ros.parameter_declarations import read_only_while_configured

Value = bool | int | float | str


class SettingsParameters:
    """Declared parameters, checked at every change; integers pass for doubles.

    Names of nested settings have their group in front: `limits.linear`.
    """

    def __init__(
        self, node: Node, groups: Mapping[str, type[Any]], others: Mapping[str, Value]
    ) -> None:
        """Declare them.

        Args:
            groups: dataclasses with `quantity` fields by group; the group "" has none in front.
            others: parameters of any kind with their defaults, which say the type.

        Raises:
            ReferDINOError: an initial value is not allowed.
        """
        self._groups = groups
        self._quantities: dict[str, Quantity] = {}
        self._values: dict[str, Any] = {}
        for group, settings in groups.items():
            for entry in quantities(settings):
                name = f"{group}.{entry.name}" if group else entry.name
                unit = f", {entry.unit}" if entry.unit else ""
                told = f"{entry.low:g} to {entry.high:g}{unit}"
                descriptor = ParameterDescriptor(dynamic_typing=True, description=told)
                self._quantities[name] = entry
                self._values[name] = node.declare_parameter(name, entry.default, descriptor).value
        for name, default in others.items():
            loose = ParameterDescriptor(dynamic_typing=True)
            self._values[name] = node.declare_parameter(name, default, loose).value
        self._types = {name: type(default) for name, default in others.items()}
        complaint = self.complaint(self._values)
        if complaint:
            raise ReferDINOError(f"Parameter {complaint}")
        node.add_on_set_parameters_callback(self._on_set)

    def __getitem__(self, name: str) -> Any:
        """Value of a parameter."""
        value, kind = self._values[name], self._types.get(name)
        return float(value) if kind is float else value

    def settings(self, group: str, **more: Any) -> Any:
        """The settings of a group, with further fields."""
        settings = self._groups[group]
        prefix = f"{group}." if group else ""
        values = {
            entry.name: type(entry.default)(self._values[prefix + entry.name])
            for entry in quantities(settings)
        }
        return settings(**values, **more)

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        known = {one.name: one.value for one in changes if one.name in self._values}
        changed = [name for name, value in known.items() if value != self._values[name]]
        values = {**self._values, **known}
        complaint = self.refusal(changed) or self.complaint(values)
        if complaint:
            return SetParametersResult(successful=False, reason=complaint)
        self._values = values
        if changed:
            self.apply()
        return SetParametersResult(successful=True)

    def refusal(self, changed: Sequence[str]) -> str:
        """Why these parameters cannot change now; "" if they can."""
        return ""

    def apply(self) -> None:
        """Called after every change."""

    def complaint(self, values: Mapping[str, Any]) -> str:
        """What is wrong with the values; "" where nothing is."""
        for name, value in values.items():
            entry, kind = self._quantities.get(name), self._types.get(name)
            if entry is not None:
                kind = type(entry.default)
            numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
            fits = numeric if kind is float else type(value) is kind
            if not fits:
                wanted = {float: "a number", int: "a whole number", bool: "true or false"}
                return f"{name} is {value!r}; give {wanted.get(kind or str, 'a text')}."
            if entry is not None and not entry.low <= value <= entry.high:
                unit = f" {entry.unit}" if entry.unit else ""
                return (
                    f"{name} is {value}; give a number from {entry.low:g} to {entry.high:g}{unit}."
                )
        return ""


_READ_AT_THE_START = "{} is read at the start: restart the node with it."


class FixedParameters(SettingsParameters):
    """Parameters that are read at the start, so that no change is accepted later."""

    def refusal(self, changed: Sequence[str]) -> str:
        """Why these parameters cannot change now; "" if they can."""
        return _READ_AT_THE_START.format(changed[0]) if changed else ""


_GROUPS = {
    "": FollowerSettings,
    "limits": MotionLimits,
    "control": ControlSettings,
    "search": SearchSettings,
    "sight": SightSettings,
    "motion": FilterSettings,
}
_OTHERS: dict[str, bool | int | float | str] = {
    "autostart": True,
    "distance": 1.0,
    "on_switch": OnSwitch.STOP.value,
    "allow_reverse": False,
    "require_enable": False,
    "enable_timeout": 0.5,
    "stamped": "auto",
    "base_frame": "base_link",
    "vocabulary": "",
    "source": "targets",
}
_CHOICES = {
    "on_switch": tuple(one.value for one in OnSwitch),
    "source": ("targets", "pose"),
    "stamped": STAMPED,
}
_ENABLE_TIMEOUTS = (0.05, 10.0)
_AT_CONFIGURING = ("require_enable", "enable_timeout", "stamped", "base_frame", "source")
"""What is read when the node is configured; `distance` and `on_switch` count from the next goal on,
all others from their change on."""


class FollowerParameters(SettingsParameters):
    """The parameters, checked at the start and at every change.

    Raises:
        ReferDINOError: an initial value is not allowed.
    """

    def __init__(
        self, node: Node, is_unconfigured: Callable[[], bool], apply: Callable[[], None]
    ) -> None:
        """Declare them.

        Args:
            apply: called after every change.
        """
        self._is_unconfigured, self._apply = is_unconfigured, apply
        super().__init__(node, _GROUPS, _OTHERS)

    def refusal(self, changed: Sequence[str]) -> str:
        """Why these parameters cannot change now; "" if they can."""
        if "autostart" in changed:
            return _READ_AT_THE_START.format("autostart")
        fixed = [name for name in changed if name in _AT_CONFIGURING]
        if not fixed or self._is_unconfigured():
            return ""
        return read_only_while_configured(fixed[0])

    def apply(self) -> None:
        """Let the node take the change over."""
        self._apply()

    def complaint(self, values: Mapping[str, Any]) -> str:
        """What is wrong with the values; "" where nothing is."""
        told = super().complaint(values)
        if told:
            return told
        for name, choices in _CHOICES.items():
            if values[name] not in choices:
                return f"{name} is {values[name]!r}; choose one of {', '.join(choices)}."
        low, high = _ENABLE_TIMEOUTS
        if not low <= values["enable_timeout"] <= high:
            timeout = values["enable_timeout"]
            return f"enable_timeout is {timeout}; give a number from {low:g} to {high:g} s."
        try:
            grammar_of(values["vocabulary"])
            Goal(distance=values["distance"])
        except ReferDINOError as error:
            return str(error)
        return ""

    @property
    def follower_settings(self) -> FollowerSettings:
        """Settings of the follower."""
        groups: dict[str, Any] = {
            name: self.settings(name) for name in ("limits", "search", "sight", "motion")
        }
        control = self.settings("control", allow_reverse=self["allow_reverse"])
        settings: FollowerSettings = self.settings("", control=control, **groups)
        return settings

    @property
    def grammar(self) -> Grammar | None:
        """How objects are described with the words of `vocabulary`; None for any words."""
        return grammar_of(self["vocabulary"])
