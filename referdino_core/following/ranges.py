# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Settings with units: fields of frozen dataclasses that know their range and check it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from referdino_core.errors import ReferDINOError


@dataclass(frozen=True)
class Quantity:
    """A numeric setting: its name, default, inclusive range and unit ("" for none)."""

    name: str
    default: float
    low: float
    high: float
    unit: str


def quantity(default: float, low: float, high: float, unit: str = "") -> Any:
    """A dataclass field whose value must be a finite number from `low` to `high`."""
    return field(default=default, metadata={"low": low, "high": high, "unit": unit})


def quantities(settings: type[Any]) -> Iterator[Quantity]:
    """The numeric settings of a dataclass, in order: what a node declares as parameters."""
    for entry in fields(settings):
        if "low" in entry.metadata:
            yield Quantity(entry.name, default=entry.default, **entry.metadata)  # type: ignore[arg-type]


class Ranged:
    """Base of settings: checks every `quantity` field when an instance is made.

    Raises:
        ReferDINOError: a value is no finite number, or out of its range.
    """

    def __post_init__(self) -> None:
        for known in quantities(type(self)):
            value = getattr(self, known.name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value) or not known.low <= value <= known.high:
                unit = f" {known.unit}" if known.unit else ""
                raise ReferDINOError(
                    f"{known.name} is {value!r}; give a number from {known.low:g} to "
                    f"{known.high:g}{unit}."
                )
