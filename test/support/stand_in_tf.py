# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for tf2_ros, which has no wheel."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from referdino_core.following import Mounting
from referdino_ros.following.camera_messages import quaternion_of
from referdino_ros.following.conversions import time_fields


class UnknownTransformError(Exception):
    """Stands for tf2_ros.TransformException."""


class StandInTf:
    """Transforms between frames.

    Attributes:
        ways: by (target frame, source frame): the stamp and the transform at a time in seconds, 0
            for the newest; raises UnknownTransformError where there is none.
        listeners: how many listen at the moment.
    """

    def __init__(self) -> None:
        self.ways: dict[tuple[str, str], Callable[[float], tuple[float, Mounting]]] = {}
        self.listeners = 0

    def lookup_transform(self, target: str, source: str, time: Any) -> Any:
        """As tf2_ros.Buffer has it."""
        if (target, source) not in self.ways:
            raise UnknownTransformError("Could not find a connection between two frames")
        stamp, found = self.ways[target, source](time.nanoseconds * 1e-9)
        w, x, y, z = quaternion_of(found.rotation)
        place = SimpleNamespace(x=found.x, y=found.y, z=found.z)
        turn = SimpleNamespace(x=x, y=y, z=z, w=w)
        return SimpleNamespace(
            header=SimpleNamespace(stamp=SimpleNamespace(**time_fields(stamp))),
            transform=SimpleNamespace(translation=place, rotation=turn),
        )

    def listen(self, buffer: Any, node: Any) -> Any:
        """As tf2_ros.TransformListener has it."""
        self.listeners += 1

        def unregister() -> None:
            self.listeners -= 1

        return SimpleNamespace(unregister=unregister)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be what `import tf2_ros` finds."""
        module: Any = ModuleType("tf2_ros")
        module.TransformException = UnknownTransformError
        module.Buffer = lambda cache_time: self
        module.TransformListener = self.listen
        monkeypatch.setitem(sys.modules, "tf2_ros", module)
