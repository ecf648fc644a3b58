# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Declaration: one parameter of the node, with its type, range, meaning and when it may change."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from referdino_core.errors import ReferDINOError

Value: TypeAlias = bool | int | float | str | Sequence[str]


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
        default: also fixes the type: bool, int, float, str, or a tuple for a list of texts.
        description: one sentence for `ros2 param describe`.
        change: when the value may change.
        range: lowest and highest value of a number, both allowed.
        choices: the allowed texts; empty where any is.
        pattern: regular expression of the allowed texts; empty where any is.
        unit: of a number, where it has one.
        parse: raises ReferDINOError for a value that is not allowed; None where any is.
    """

    name: str
    default: Value
    description: str
    change: Change
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    unit: str = ""
    parse: Callable[[Any], object] | None = None

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
        try:
            if self.parse is not None:
                self.parse(value)
        except ReferDINOError as error:
            return str(error)
        return None
