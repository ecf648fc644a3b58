# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of rclpy by the names of their types."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


@cache
def message_class(name: str) -> Any:
    """The class of a message type such as "std_msgs/msg/String".

    Raises:
        ImportError: its package is not installed.
    """
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


def make_message(name: str, **fields: Any) -> Any:
    """A message of the type with this name."""
    return message_class(name)(**fields)
