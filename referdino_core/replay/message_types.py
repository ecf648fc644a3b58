# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Message types without ROS: those that rosbags knows, and the definitions that come along."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

DEFINITIONS = Path(__file__).parent / "definitions"
"""PACKAGE/msg/TYPE.msg: referdino's own, and those of vision_msgs 4."""


@cache
def message_types() -> Any:
    """A rosbags type store of the common interfaces, vision_msgs and referdino's messages."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.LATEST)
    definitions: dict[str, Any] = {}
    for path in sorted(DEFINITIONS.glob("*/msg/*.msg")):
        name = f"{path.parts[-3]}/msg/{path.stem}"
        definitions.update(get_types_from_msg(path.read_text(encoding="utf-8"), name))
    store.register(definitions)
    return store
