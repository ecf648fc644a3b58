# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node: name, type, range, default, meaning, and when it may change."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeAlias

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from referdino_core.configuration import CONFIGURATIONS, PRECISIONS, RUNTIMES, SessionSettings
from referdino_core.errors import ReferDINOError

Value: TypeAlias = bool | int | float | str


class Change(enum.Enum):
    """When a parameter may change."""

    ANY_TIME = "may change at any time"
    UNCONFIGURED = "is read when the node is configured"
    NEVER = "is read when the node starts"


@dataclass(frozen=True)
class Declaration:
    """One parameter.

    Attributes:
        name: as in ROS.
        default: also fixes the type: bool, int, float or str.
        description: one sentence for `ros2 param describe`.
        change: when the value may change.
        range: lowest and highest value of a number, both allowed.
        choices: the allowed texts; empty where any is.
        pattern: regular expression of the allowed texts; empty where any is.
        unit: of a number, where it has one.
    """

    name: str
    default: Value
    description: str
    change: Change
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    unit: str = ""

    def descriptor(self) -> ParameterDescriptor:
        """The declaration in ROS's terms."""
        descriptor = ParameterDescriptor(
            name=self.name,
            description=f"{self.description} It {self.change.value}.",
            additional_constraints=f"One of {', '.join(self.choices)}." if self.choices else "",
            read_only=self.change is Change.NEVER,
        )
        if self.range and isinstance(self.default, float):
            low, high = self.range
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.range:
            low, high = int(self.range[0]), int(self.range[1])
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
        return descriptor

    def complaint(self, value: Value) -> str | None:
        """What is wrong with a value of the right type, or None; ranges are ROS's own check."""
        if self.choices and value not in self.choices:
            return f"{self.name} is {value!r}; it must be one of {', '.join(self.choices)}."
        if self.pattern and not re.fullmatch(self.pattern, str(value)):
            return f"{self.name} is {value!r}; {self.description}"
        return None


_SESSION = SessionSettings()
_SESSION_FIELDS = frozenset(entry.name for entry in fields(SessionSettings))

DECLARATIONS: tuple[Declaration, ...] = (
    Declaration(
        "autostart",
        True,
        "Whether the node configures and activates itself when it starts.",
        Change.NEVER,
    ),
    Declaration(
        "model",
        "nano",
        "The model, where no checkpoint is given.",
        Change.UNCONFIGURED,
        choices=tuple(sorted(CONFIGURATIONS)),
    ),
    Declaration(
        "checkpoint",
        "",
        "Path of weights (.pth or .safetensors), whose model is recognised; empty for those of "
        "the parameter model.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "device",
        "cpu",
        "Where the network runs: cpu, cuda or cuda:N.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "runtime",
        "auto",
        "What computes the network; auto is the fastest that is installed.",
        Change.UNCONFIGURED,
        choices=RUNTIMES,
    ),
    Declaration(
        "precision",
        "fp32",
        "What the network computes in: fp32, bf16 or fp16.",
        Change.UNCONFIGURED,
        choices=PRECISIONS,
    ),
    Declaration(
        "exports",
        "",
        "Folder that `referdino export` wrote, for onnxruntime and tensorrt; empty: the node makes "
        "and keeps its own.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "image_size",
        "",
        "Size of the camera's images, such as 640x480 (width x height): a runtime that takes long "
        "to get ready then does so while the node is configured; empty: at the first image.",
        Change.UNCONFIGURED,
        pattern="([1-9][0-9]*x[1-9][0-9]*)?",
    ),
    Declaration(
        "initial_command",
        "",
        "A command that runs from the start; empty for none.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "image_transport",
        "raw",
        "raw subscribes to image_raw (sensor_msgs/Image), compressed to image_raw/compressed "
        "(sensor_msgs/CompressedImage).",
        Change.UNCONFIGURED,
        choices=("raw", "compressed"),
    ),
    Declaration(
        "image_qos",
        "sensor_data",
        "Quality of service of the image subscription: sensor_data (best effort, receives from "
        "every camera), reliable, or system_default (the middleware's).",
        Change.UNCONFIGURED,
        choices=("sensor_data", "reliable", "system_default"),
    ),
    Declaration(
        "window",
        _SESSION.window,
        "Frames over which scores are averaged and the temporal decoder looks back.",
        Change.UNCONFIGURED,
        range=(1, 64),
        unit="frames",
    ),
    Declaration(
        "accept",
        _SESSION.accept,
        "Windowed score at which a search takes up a target.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "keep",
        _SESSION.keep,
        "Score below which an accepted target counts as not seen; at most accept.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "hold_frames",
        _SESSION.hold_frames,
        "Frames without sight of a target (occluded) before it is lost.",
        Change.ANY_TIME,
        range=(0, 100_000),
        unit="frames",
    ),
    Declaration(
        "switch_margin",
        _SESSION.switch_margin,
        "How much better the windowed score of another object must be to take over a command.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "switch_frames",
        _SESSION.switch_frames,
        "Frames between two such switches, at least.",
        Change.ANY_TIME,
        range=(0, 100_000),
        unit="frames",
    ),
    Declaration(
        "mask_threshold",
        _SESSION.mask_threshold,
        "Probability above which a pixel belongs to the mask.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "max_gap",
        _SESSION.max_gap,
        "Time between the stamps of two images that resets the memories; 0 never does.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
    Declaration(
        "max_commands",
        16,
        "Commands that may run at once; time and memory grow with them.",
        Change.ANY_TIME,
        range=(1, 64),
    ),
    Declaration(
        "overlay_jpeg_quality",
        80,
        "Quality of ~/overlay/compressed.",
        Change.ANY_TIME,
        range=(1, 100),
        unit="%",
    ),
    Declaration(
        "no_image_warning",
        5.0,
        "Time without an image after which the node warns, and warns again; 0 never does.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
    Declaration(
        "error_log_period",
        10.0,
        "Time in which an error that repeats is logged once.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
)

BY_NAME: Mapping[str, Declaration] = MappingProxyType({entry.name: entry for entry in DECLARATIONS})


class NodeParameters:
    """The parameters of a node, declared on construction and checked at every change.

    Args:
        node: where they are declared.
        is_unconfigured: whether the node's life cycle lets `Change.UNCONFIGURED` ones change.
        on_session_settings: called with the new settings when one of their fields has changed.

    Raises:
        ReferDINOError: a value that the node was started with is not allowed.
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
            parameter = node.declare_parameter(entry.name, entry.default, entry.descriptor())
            self._values[entry.name] = parameter.value
        complaint = _first_complaint(self._values)
        if complaint:
            raise ReferDINOError(f"Parameter {complaint}")
        node.add_on_set_parameters_callback(self._on_set)

    def __getitem__(self, name: str) -> Any:
        """Value of a declared parameter."""
        return self._values[name]

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(width, height) of the camera's images, where it was given."""
        text = str(self._values["image_size"])
        if not text:
            return None
        width, height = text.split("x")
        return int(width), int(height)

    @property
    def session_settings(self) -> SessionSettings:
        """The parameters that are the session's own."""
        return _session_settings(self._values)

    def _on_set(self, changes: list[Parameter]) -> SetParametersResult:
        """Check a set of changes as a whole, and apply it when it is allowed."""
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
                return (
                    f"{parameter.name} is read-only while the node is configured. Deactivate and "
                    "clean up the node (ros2 lifecycle set), set it, and configure again; or "
                    "restart the node with the new value."
                )
        return None


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
