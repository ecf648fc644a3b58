# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Message types for bags, without ROS: those of rosbags and the bundled definitions."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.replay.recording import NANOSECONDS

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


def header_message(stamp: int, frame_id: str = "") -> Any:
    """A std_msgs/Header; `stamp`: integer nanoseconds."""
    types = message_types().types
    seconds, nanoseconds = divmod(stamp, NANOSECONDS)
    time = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def image_message(pixels: np.ndarray, encoding: str, header: Any) -> Any:
    """A sensor_msgs/Image of (H, W) or (H, W, C) pixels."""
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
    return message_types().types["sensor_msgs/msg/Image"](
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=data.size // height,
        data=data,
    )
